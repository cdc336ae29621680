"""Reductions over axes, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable

from midge.ir.types import DType, TensorType
from midge.load.onnx.functions import apply, two
from midge.load.onnx.held import Held
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.map import Function
from midge.ops.mean import Mean, reduced_shape
from midge.ops.reduce import Function as Total
from midge.ops.reduce import Reduce
from midge.ops.sub import Sub


def log_softmax(site: Site) -> None:
    """LogSoftmax along one axis (before opset 13: that and all behind it): d - ln(sum(e^d)) with d = x - max(x)."""
    x = site.importer.real(site.held(0))
    rank, is_old = len(x.shape), site.importer.raw.opset < 13
    axis = site.axis(int(site.attribute("axis", 1 if is_old else -1)), rank)
    axes = tuple(range(axis, rank)) if is_old else (axis,)
    distance = two(site, Sub, x, reduced(site, Total.MAX, x, axes))
    total = reduced(site, Total.SUM, apply(site, Function.EXP, distance), axes)
    site.bind(two(site, Sub, distance, apply(site, Function.LOG, total)))


def reduced(site: Site, function: Total | None, x: Held, axes: tuple[int, ...], *, keep_dims: bool = True) -> Held:
    """A reduction (None: the mean) over axes of the ONNX tensor, in float32."""
    x = site.importer.real(x)
    lying = x.axes or tuple(range(len(x.shape)))
    operand = site.place(x, lying)
    inner = tuple(sorted(lying.index(axis) for axis in axes))
    source = site.importer.builder.values[operand].type
    op = Mean(inner, keep_dims) if function is None else Reduce(function, inner, keep_dims)
    made = site.make(op, [operand], TensorType(DType.FLOAT32, reduced_shape(source.shape, inner, keep_dims)))
    kept = lying if keep_dims else tuple(axis for axis in lying if axis not in axes)
    left = sorted(kept)
    return site.held_of(made, reduced_shape(x.shape, axes, keep_dims), tuple(left.index(axis) for axis in kept))


def reduce_by(function: Total, before: Function | None = None, after: Function | None = None
              ) -> Callable[[Site], None]:  # fmt: skip
    """A row for ReduceSum and its like; `before` and `after` are done to the elements and to the result."""

    def row(site: Site) -> None:
        x = site.held(0)
        axes = _reduced_axes(site, x)
        if before is not None and axes is not None:
            x = apply(site, before, x)
        if axes is not None:
            x = reduced(site, function, x, axes, keep_dims=bool(site.attribute("keepdims", 1)))
        site.bind(x if after is None or axes is None else apply(site, after, x))

    return row


def _reduced_axes(site: Site, x: Held) -> tuple[int, ...] | None:
    """Axes that a reduction takes away; None where it is none."""
    rank, named = len(x.shape), site.integers("axes", 1)
    if not named and site.attribute("noop_with_empty_axes", 0):
        return None
    return tuple(sorted({site.axis(axis, rank) for axis in named or range(rank)}))


def log_sum_exp(site: Site) -> None:
    """ReduceLogSumExp: m + ln(sum(e^(x - m))) with m the largest."""
    x = site.held(0)
    axes = _reduced_axes(site, x)
    if axes is None:
        site.bind(x)
        return
    largest = reduced(site, Total.MAX, x, axes)
    powers = apply(site, Function.EXP, two(site, Sub, x, largest))
    found = two(site, Add, largest, apply(site, Function.LOG, reduced(site, Total.SUM, powers, axes)))
    if not site.attribute("keepdims", 1):
        found = found.rearranged(found.order.reshape([n for k, n in enumerate(found.shape) if k not in axes]))
    site.bind(found)


def global_max(site: Site) -> None:
    """GlobalMaxPool."""
    x = site.held(0)
    site.bind(reduced(site, Total.MAX, x, tuple(range(2, len(x.shape)))))


ROWS: dict[str, Callable[[Site], None]] = {
    "GlobalMaxPool": global_max,
    "LogSoftmax": log_softmax,
    "ReduceL1": reduce_by(Total.SUM, Function.ABS),
    "ReduceL2": reduce_by(Total.SUM, Function.SQUARE, Function.SQRT),
    "ReduceLogSum": reduce_by(Total.SUM, None, Function.LOG),
    "ReduceLogSumExp": log_sum_exp,
    "ReduceMax": reduce_by(Total.MAX),
    "ReduceMin": reduce_by(Total.MIN),
    "ReduceProd": reduce_by(Total.PROD),
    "ReduceSum": reduce_by(Total.SUM),
    "ReduceSumSquare": reduce_by(Total.SUM, Function.SQUARE),
}
