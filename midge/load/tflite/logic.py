"""Indices of extremes, comparisons, conditions and choices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.tflite.shapes import axis_of
from midge.load.tflite.site import Site
from midge.ops.arg_extreme import ArgExtreme
from midge.ops.cast import Cast
from midge.ops.compare import Compare, Function
from midge.ops.mean import reduced_shape
from midge.ops.select import Select


def arg_extreme(largest: bool) -> Callable[[Site], None]:
    """A row for ARG_MAX or ARG_MIN along a constant axis."""

    def row(site: Site) -> None:
        x, y = site.type(0), site.result_type()
        site.require_plain(site.required(0))
        if y.dtype not in (DType.INT32, DType.INT64):
            site.broken(f"a result of type {y.dtype.value}", "int32 or int64")
        found = site.known(1, "an axis").reshape(-1)
        if found.size != 1 or not x.shape:
            site.broken(f"{found.size} axes of rank {len(x.shape)}", "one axis")
        axis = axis_of(site, int(found[0]), len(x.shape))
        site.emit(ArgExtreme(largest, axis, False), [site.required(0)], reduced_shape(x.shape, (axis,), False))

    return row


def broadcast(site: Site, *positions: int) -> tuple[int, ...]:
    """The shape that operands broadcast to."""
    shapes = [site.type(position).shape for position in positions]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        site.broken(f"shapes {' and '.join(str(list(shape)) for shape in shapes)}", "operands that broadcast")


def compared(function: Function) -> Callable[[Site], None]:
    """A row for a comparison, or a condition of two bools."""

    def row(site: Site) -> None:
        a, b = site.type(0), site.type(1)
        site.require_plain(site.required(0), site.required(1))
        if a.dtype is DType.INT8:
            site.require_dtypes(site.required(0), site.required(1))
            scales = [type_.quantization.scale for type_ in (a, b) if type_.quantization is not None]
            if max(scales) >= 1:
                site.unsupported(f"a scale of {max(scales)}, not below 1")
        site.emit(Compare(function), [site.required(0), site.required(1)], broadcast(site, 0, 1))

    return row


def logical_not(site: Site) -> None:
    """LOGICAL_NOT: whether a bool is false."""
    shape = site.type(0).shape
    values = site.constant(0)
    if values is not None:
        site.fold(~values)
        return
    number = TensorType(DType.BOOL, (1,))
    no = np.zeros(1, np.bool_)
    site.emit_with(Compare(Function.EQUAL), site.required(0), number, no, shape, site.result())


def select(site: Site) -> None:
    """SELECT_V2, and SELECT, whose condition may choose whole rows."""
    condition, a = site.type(0), site.type(1)
    positions: list[int | None] = [site.required(position) for position in range(3)]
    if site.operator.code == "SELECT" and len(condition.shape) == 1 and len(a.shape) > 1:
        site.unsupported("a condition for whole rows")
    types = [site.importer.type(index) for index in (*positions[1:], site.result()) if index is not None]
    if len({(type_.dtype, type_.quantization) for type_ in types}) > 1:
        site.unsupported("operands with different scales")
    site.emit(Select(), positions, broadcast(site, 0, 1, 2))


def cast(site: Site) -> None:
    """CAST of numbers; constants are folded."""
    values, x, y = site.constant(0), site.type(0), site.result_type()
    if values is not None:
        site.fold(values.astype(y.dtype.numpy))
        return
    if x.quantization is not None or y.quantization is not None:
        site.unsupported("a cast of quantised values")
    site.emit(Cast(), [site.required(0)], x.shape)


ROWS: dict[str, Callable[[Site], None]] = {
    "ARG_MAX": arg_extreme(True),
    "ARG_MIN": arg_extreme(False),
    "CAST": cast,
    "EQUAL": compared(Function.EQUAL),
    "GREATER": compared(Function.GREATER),
    "GREATER_EQUAL": compared(Function.GREATER_EQUAL),
    "LESS": compared(Function.LESS),
    "LESS_EQUAL": compared(Function.LESS_EQUAL),
    "LOGICAL_AND": compared(Function.AND),
    "LOGICAL_NOT": logical_not,
    "LOGICAL_OR": compared(Function.OR),
    "NOT_EQUAL": compared(Function.NOT_EQUAL),
    "SELECT": select,
    "SELECT_V2": select,
}
