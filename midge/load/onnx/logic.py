"""Comparisons, conditions, choices, and indices of extremes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.onnx import elementwise
from midge.load.onnx.elementwise import Operand
from midge.load.onnx.functions import apply, number
from midge.load.onnx.held import Held, Known
from midge.load.onnx.site import Site
from midge.ops.arg_extreme import ArgExtreme
from midge.ops.base import Op
from midge.ops.compare import Compare, Function
from midge.ops.map import Function as One
from midge.ops.mean import reduced_shape
from midge.ops.select import Select


def compared(function: Function) -> Callable[[Site], None]:
    """A row for a comparison of numbers, in float32, or for a condition of two bools."""
    return lambda site: site.bind(compare(site, function, site.operand(0), site.operand(1)))


def compare(site: Site, function: Function, a: Operand, b: Operand) -> Held:
    dtypes = {_is_bool(operand) for operand in (a, b)}
    if len(dtypes) > 1:
        site.broken("a bool and a number", "operands of one type")
    return _joined(site, Compare(function), (a, b), DType.BOOL if dtypes == {True} else DType.FLOAT32, DType.BOOL)


def _is_bool(operand: Operand) -> bool:
    return operand.array.dtype == np.bool_ if isinstance(operand, Known) else operand.type.dtype is DType.BOOL


def _joined(site: Site, op: Op, operands: tuple[Operand, ...], dtype: DType, result: DType) -> Held:
    """An operator on operands that broadcast, all of `dtype` but for conditions, which are bool."""
    try:
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
    except ValueError:
        site.broken(f"shapes {[list(operand.shape) for operand in operands]}", "operands that broadcast")
    axes = elementwise.common_axes(operands, shape)
    names = []
    for operand in operands:
        wide = (1,) * (len(shape) - len(operand.shape)) + operand.shape
        if isinstance(operand, Known):
            kind = DType.BOOL if _is_bool(operand) else dtype
            data = np.ascontiguousarray(operand.array.astype(kind.numpy).reshape(wide).transpose(axes))
            names.append(site.new_constant("constant", TensorType(kind, data.shape), data))
        else:
            held = operand if _is_bool(operand) else site.importer.real(operand)
            names.append(site.place(held.rearranged(held.order.reshape(wide)), axes))
    made = site.make(op, names, TensorType(result, tuple(shape[axis] for axis in axes)))
    return site.held_of(made, shape, axes)


def exclusive(site: Site) -> None:
    """Xor: bools that differ."""
    site.bind(compare(site, Function.NOT_EQUAL, site.operand(0), site.operand(1)))


def negated(site: Site) -> None:
    """Not."""
    site.bind(compare(site, Function.EQUAL, site.held(0), Known(np.array(False))))


def is_nan(site: Site) -> None:
    """IsNaN: what does not equal itself."""
    x = site.importer.real(site.held(0))
    site.bind(compare(site, Function.NOT_EQUAL, x, x))


def is_infinite(site: Site) -> None:
    """IsInf, of both signs or of one."""
    x = site.importer.real(site.held(0))
    signs = bool(site.attribute("detect_negative", 1)), bool(site.attribute("detect_positive", 1))
    if signs == (True, True):
        site.bind(compare(site, Function.EQUAL, apply(site, One.ABS, x), number(float("inf"))))
    elif signs == (True, False):
        site.bind(compare(site, Function.EQUAL, x, number(-float("inf"))))
    elif signs == (False, True):
        site.bind(compare(site, Function.EQUAL, x, number(float("inf"))))
    else:
        site.unsupported("neither sign")


def where(site: Site) -> None:
    """Where: a choice for each element."""
    condition, a, b = (site.operand(position) for position in range(3))
    if not _is_bool(condition):
        site.broken("a condition of numbers", "bools")
    site.bind(choose(site, condition, a, b))


def choose(site: Site, condition: Operand, a: Operand, b: Operand) -> Held:
    """a where the condition is true, else b."""
    is_bool = _is_bool(a)
    dtype = DType.BOOL if is_bool else DType.FLOAT32
    found = _joined(site, Select(), (condition, a, b), dtype, dtype)
    return replace(found, is_whole=not is_bool and elementwise.is_whole(a) and elementwise.is_whole(b))


def arg_extreme(largest: bool) -> Callable[[Site], None]:
    """A row for ArgMax or ArgMin; of equal values the first one counts."""

    def row(site: Site) -> None:
        x = site.held(0)
        if site.attribute("select_last_index", 0):
            site.unsupported("the last one of equal values")
        axis, keep = site.axis(int(site.attribute("axis", 0)), len(x.shape)), bool(site.attribute("keepdims", 1))
        site.bind(extreme_index(site, x, axis, largest=largest, keep_dims=keep))

    return row


def extreme_index(site: Site, x: Held, axis: int, *, largest: bool, keep_dims: bool) -> Held:
    """Where along an axis the first of the largest or smallest values lies, int64."""
    if x.type.dtype is not DType.INT8:
        x = site.importer.real(x)
    lying = x.axes or tuple(range(len(x.shape)))
    operand = site.place(x, lying)
    inner = lying.index(axis)
    shape = reduced_shape(site.importer.builder.values[operand].type.shape, (inner,), keep_dims)
    made = site.make(ArgExtreme(largest, inner, keep_dims), [operand], TensorType(DType.INT64, shape))
    kept = lying if keep_dims else tuple(other for other in lying if other != axis)
    left = sorted(kept)
    return site.held_of(made, reduced_shape(x.shape, (axis,), keep_dims), tuple(left.index(k) for k in kept))


ROWS: dict[str, Callable[[Site], None]] = {
    "And": compared(Function.AND),
    "ArgMax": arg_extreme(True),
    "ArgMin": arg_extreme(False),
    "Equal": compared(Function.EQUAL),
    "Greater": compared(Function.GREATER),
    "GreaterOrEqual": compared(Function.GREATER_EQUAL),
    "IsInf": is_infinite,
    "IsNaN": is_nan,
    "Less": compared(Function.LESS),
    "LessOrEqual": compared(Function.LESS_EQUAL),
    "Not": negated,
    "Or": compared(Function.OR),
    "Where": where,
    "Xor": exclusive,
}
