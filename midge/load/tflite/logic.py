"""Indices of extremes, comparisons, conditions and choices."""

from __future__ import annotations

from collections.abc import Callable

from midge.ir.types import DType
from midge.load.tflite.shapes import axis_of
from midge.load.tflite.site import Site
from midge.ops.arg_extreme import ArgExtreme
from midge.ops.mean import reduced_shape


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


ROWS: dict[str, Callable[[Site], None]] = {
    "ARG_MAX": arg_extreme(True),
    "ARG_MIN": arg_extreme(False),
}
