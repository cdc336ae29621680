"""Pools and means."""

from __future__ import annotations

from dataclasses import replace

from midge.ir.types import DType, TensorType
from midge.load.onnx.held import Held, channels_last
from midge.load.onnx.site import Site
from midge.load.onnx.windows import image_of, require_image, two, window_of
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Op, Padding
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean, reduced_shape
from midge.ops.pad import Pad
from midge.ops.windows import Window


def max_pool(site: Site) -> None:
    """MaxPool; of quantised values their integers, which have the same order."""
    if site.is_read(1):
        site.unsupported("indices of the maxima")
    x = site.held(0)
    require_image(site, x)
    window = window_of(site, x.shape[2:], site.integers("kernel_shape") or ())
    _pool(site, x, window, MaxPool2D(*_fields(site, window), window.padding, Activation.NONE))


def average_pool(site: Site) -> None:
    """AveragePool; padding counts as zeros where the model says so."""
    x = site.held(0)
    require_image(site, x)
    window = window_of(site, x.shape[2:], site.integers("kernel_shape") or ())
    fields, pad = _fields(site, window), window.padding
    if site.attribute("count_include_pad", 0) and pad != Padding(0, 0, 0, 0):
        if site.attribute("ceil_mode", 0):
            site.unsupported("ceil_mode with count_include_pad")
        x = _padded(site, x, pad)
        window = replace(window, padding=Padding(0, 0, 0, 0))
    _pool(site, x, window, AveragePool2D(*fields, window.padding, Activation.NONE))


def _fields(site: Site, window: Window) -> tuple[int, int, int, int]:
    if (window.dilation_h, window.dilation_w) != (1, 1):
        site.unsupported("dilation")
    return window.kernel_h, window.kernel_w, window.stride_h, window.stride_w


def _padded(site: Site, x: Held, pad: Padding) -> Held:
    operand = image_of(site, x)
    pairs = ((0, 0), (pad.top, pad.bottom), (pad.left, pad.right), (0, 0))
    source = site.importer.builder.values[operand].type
    shape = tuple(size + sum(pair) for size, pair in zip(source.shape, pairs, strict=True))
    made = site.make(Pad(pairs), [operand], TensorType(source.dtype, shape, source.quantization))
    wide = (1, shape[3], *shape[1:3])[: len(x.shape)]
    return replace(site.held_of(made, wide, channels_last(len(wide))), is_real=x.is_real)


def _pool(site: Site, x: Held, window: Window, op: Op) -> None:
    """A pool in the quantisation of its operand."""
    operand = image_of(site, x)
    rows, columns = window.output_size(*two(x.shape[2:], 1))
    if min(rows, columns) < 1:
        site.broken(f"a window larger than its input {list(x.shape)}", "one that fits")
    type_ = TensorType(x.type.dtype, (1, rows, columns, x.shape[1]), x.type.quantization)
    made = site.make(op, [operand], type_)
    shape = (1, x.shape[1], rows, columns)[: len(x.shape)]
    site.bind(replace(site.held_of(made, shape, channels_last(len(shape))), is_real=x.is_real))


def global_average(site: Site) -> None:
    """GlobalAveragePool: the mean over the spatial axes."""
    reduce_to_mean(site, tuple(range(2, len(site.held(0).shape))), keep_dims=True)


def reduce_mean(site: Site) -> None:
    rank = len(site.held(0).shape)
    named = site.integers("axes", 1)
    if not named and site.attribute("noop_with_empty_axes", 0):
        site.bind(site.held(0))
        return
    axes = tuple(sorted({site.axis(axis, rank) for axis in named or range(rank)}))
    reduce_to_mean(site, axes, keep_dims=bool(site.attribute("keepdims", 1)))


def reduce_to_mean(site: Site, axes: tuple[int, ...], *, keep_dims: bool) -> None:
    """The mean over axes of the ONNX tensor."""
    x = site.held(0)
    target = site.target(fuses=False) if x.is_real and x.type.dtype is DType.INT8 else None
    if target is None:
        x = site.importer.real(x)
    lying = x.axes or tuple(range(len(x.shape)))
    operand = site.place(x, lying)
    source = site.importer.builder.values[operand].type
    inner = tuple(sorted(lying.index(axis) for axis in axes))
    shape = reduced_shape(source.shape, inner, keep_dims)
    quantization = None if target is None else target.quantization.quantization
    made = site.make(Mean(inner, keep_dims), [operand], TensorType(source.dtype, shape, quantization))
    kept = lying if keep_dims else tuple(axis for axis in lying if axis not in axes)
    left = sorted(kept)
    order = tuple(left.index(axis) for axis in kept)
    site.finish(target, site.held_of(made, reduced_shape(x.shape, axes, keep_dims), order))
