"""One-hot codes, triangles and thresholds, made of comparisons; places known at run time; running sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.onnx import movement
from midge.load.onnx.elementwise import Operand
from midge.load.onnx.functions import number, pair, two
from midge.load.onnx.held import Held, Known
from midge.load.onnx.logic import choose, compare, extreme_index
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.binary import Function as Pair
from midge.ops.compare import Function
from midge.ops.cumsum import Cumsum
from midge.ops.gather import Gather
from midge.ops.sub import Sub


def one_hot(site: Site) -> None:
    """OneHot with constant depth and values; negative indices count from the end."""
    depth, values = int(site.number(1, "a depth")), site.known(2, "values").reshape(-1)
    indices = site.held(0)
    if depth < 1 or values.size != 2:
        site.broken(f"depth {depth}, {values.size} values", "a positive depth, and the values off and on")
    axis = site.axis(int(site.attribute("axis", -1)), len(indices.shape) + 1)
    site.bind(_one_hot(site, indices, depth, axis, Known(values[1]), Known(values[0])))


def _one_hot(site: Site, indices: Held, depth: int, axis: int, on: Known, off: Known) -> Held:
    wide = indices.rearranged(np.expand_dims(indices.order, axis))
    along = [depth if k == axis else 1 for k in range(len(wide.shape))]
    front, back = (Known(np.arange(first, first + depth).reshape(along)) for first in (0, -depth))
    is_one = compare(site, Function.OR, compare(site, Function.EQUAL, wide, front),
                     compare(site, Function.EQUAL, wide, back))  # fmt: skip
    return choose(site, is_one, on, off)


def hardmax(site: Site) -> None:
    """Hardmax: 1 at the first of the largest values, 0 elsewhere; before opset 13 over all axes from `axis` on."""
    x, is_old = site.held(0), site.importer.raw.opset < 13
    shape = x.shape
    axis = site.axis(int(site.attribute("axis", 1 if is_old else -1)), len(shape))
    if is_old:
        x, axis = x.rearranged(x.order.reshape(int(np.prod(shape[:axis])), -1)), 1
    found = _one_hot(site, extreme_index(site, x, axis, largest=True, keep_dims=False), x.shape[axis], axis,
                     number(1.0), number(0.0))  # fmt: skip
    site.bind(found.rearranged(found.order.reshape(shape)))


def triangle(site: Site) -> None:
    """Trilu with a constant diagonal: zeros below it, or above."""
    x = site.held(0)
    if len(x.shape) < 2:
        site.broken(f"shape {list(x.shape)}", "matrices")
    k = int(site.number(1, "a diagonal")) if site.has(1) else 0
    cut = np.triu if site.attribute("upper", 1) else np.tril
    site.bind(choose(site, Known(cut(np.ones(x.shape[-2:], np.bool_), k)), x, Known(np.zeros((), np.float32))))


def thresholded_relu(site: Site) -> None:
    """ThresholdedRelu: x where it is above alpha, else 0."""
    x = site.held(0)
    above = compare(site, Function.GREATER, x, number(float(site.attribute("alpha", 1.0))))
    site.bind(choose(site, above, x, number(0.0)))


def shrink(site: Site) -> None:
    """Shrink: x - bias above lambd, x + bias below -lambd, else 0."""
    x, bound, bias = site.held(0), float(site.attribute("lambd", 0.5)), float(site.attribute("bias", 0.0))
    low, high = two(site, Add, x, number(bias)), two(site, Sub, x, number(bias))
    rest = choose(site, compare(site, Function.GREATER, x, number(bound)), high, number(0.0))
    site.bind(choose(site, compare(site, Function.LESS, x, number(-bound)), low, rest))


def gather(site: Site) -> None:
    """Gather: by constant indices it moves elements only; negative indices count from the end."""
    x, indices = site.operand(0), site.operand(1)
    if isinstance(indices, Known):
        movement.moved(movement.gather)(site)
        return
    axis = site.axis(int(site.attribute("axis", 0)), len(x.shape))
    whole = two(site, pair(Pair.FLOOR_MOD), indices, number(float(x.shape[axis])))
    places = site.importer.cast(whole, DType.INT32)
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    name, type_ = _table(site, x)
    at = site.place(places, tuple(range(len(indices.shape))))
    made = site.make(Gather(axis), [name, at], TensorType(type_.dtype, shape, type_.quantization))
    held = site.held_of(made, shape, tuple(range(len(shape))))
    site.bind(held if isinstance(x, Known) else Held(held.value, held.type, held.order, x.is_real, x.is_whole,
                                                     x.is_unsigned))  # fmt: skip


def _table(site: Site, x: Operand) -> tuple[str, TensorType]:
    if isinstance(x, Known):
        type_ = TensorType(DType.FLOAT32, x.shape)
        return site.new_constant("table", type_, np.ascontiguousarray(x.array.astype(np.float32))), type_
    return site.place(x, tuple(range(len(x.shape)))), x.type


def running_sum(site: Site) -> None:
    """CumSum along a constant axis, forwards or backwards."""
    x = site.importer.real(site.held(0))
    axis = site.axis(int(site.number(1, "an axis")), len(x.shape))
    if site.attribute("reverse", 0):
        x = x.rearranged(np.flip(x.order, axis))
    axes = x.axes or tuple(range(len(x.shape)))
    operand = site.place(x, axes)
    op = Cumsum(axes.index(axis), bool(site.attribute("exclusive", 0)))
    made = site.make(op, [operand], site.importer.builder.values[operand].type)
    held = site.held_of(made, x.shape, axes)
    order = np.flip(held.order, axis) if site.attribute("reverse", 0) else held.order
    site.bind(Held(held.value, held.type, order, is_whole=x.is_whole))


ROWS: dict[str, Callable[[Site], None]] = {
    "CumSum": running_sum,
    "Gather": gather,
    "Hardmax": hardmax,
    "OneHot": one_hot,
    "Shrink": shrink,
    "ThresholdedRelu": thresholded_relu,
    "Trilu": triangle,
}
