"""The layers of wild networks that have weights; each function says None where it cannot put one on a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from wild_networks import Wild

from midge.ir.types import DType, Quantization, TensorType
from midge.ops.add import Add
from midge.ops.base import Padding, Rounding
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.lstm import Lstm
from midge.ops.reshape import Reshape
from midge.ops.transposed_conv2d import TransposedConv2D
from midge.ops.windows import Window


def conv(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    groups = maker.whole(1, 1, 1, 1, 2, 3, shape[3])
    if shape[3] % groups:
        return None
    outputs = groups * maker.whole(1, 2, 3, 4, 5, 7, 8, 13, 16, 24)
    kernel = (1, 1) if maker.chance(0.35) else (maker.whole(1, 2, 3, 3, 3, 5), maker.whole(1, 2, 3, 3, 3, 5))
    window = _Windows(maker, kernel)
    weights, data = maker.weights((outputs, *kernel, shape[3] // groups), 0)
    op = Conv2D(*window.strides, *window.dilations, window.padding, maker.activation(), Rounding.DOUBLE)
    return _convolution(maker, x, op, op.window(weights), weights, data, 0)


def depthwise(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    multiplier = maker.whole(1, 1, 1, 1, 2, 3)
    kernel = (maker.whole(1, 2, 3, 3, 3, 4, 5), maker.whole(1, 2, 3, 3, 3, 4, 5))
    window = _Windows(maker, kernel)
    weights, data = maker.weights((1, *kernel, shape[3] * multiplier), 3)
    op = DepthwiseConv2D(*window.strides, *window.dilations, window.padding, maker.activation(), Rounding.DOUBLE,
                         multiplier)  # fmt: skip
    return _convolution(maker, x, op, op.window(weights), weights, data, 3)


class _Windows:
    """Strides, dilations and padding of a convolution."""

    def __init__(self, maker: Wild, kernel: tuple[int, int]) -> None:
        stride = maker.whole(1, 1, 1, 2, 2, 3)
        self.strides = (stride, stride if maker.chance(0.7) else maker.whole(1, 2, 3))
        dilation = maker.whole(1, 1, 1, 1, 2, 3)
        self.dilations = (dilation, dilation if maker.chance(0.7) else maker.whole(1, 2))
        reach = tuple((size - 1) * each + 1 for size, each in zip(kernel, self.dilations, strict=True))
        self.padding = maker.padding((reach[0], reach[1]))


def _convolution(maker: Wild, x: str, op: Conv2D | DepthwiseConv2D, window: Window, weights: TensorType,
                 data: np.ndarray, axis: int) -> str | None:  # fmt: skip
    shape, channels = maker.shape_of(x), weights.shape[axis]
    rows, columns = window.output_size(shape[1], shape[2])
    if rows < 1 or columns < 1:
        return None
    result = maker.typed((1, rows, columns, channels), maker.result_scale(x, weights, data, axis))
    return maker.layer(op, [x, maker.value(weights, data), maker.bias(channels)], result)


def fully_connected(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    type_ = maker.type_of(x)
    keep = maker.chance(0.3)
    if not keep and maker.chance(0.8):
        x = _flattened(maker, x)
    depth = maker.shape_of(x)[-1]
    outputs = maker.whole(1, 2, 3, 5, 8, 10, 13, 17, 32)
    weights, data = maker.weights((outputs, depth), 0)
    rows = type_.elements // depth
    shape = (*maker.shape_of(x)[:-1], outputs) if keep else (rows, outputs)
    rounding = Rounding.SINGLE if maker.chance(0.7) else Rounding.DOUBLE
    op = FullyConnected(maker.activation(), rounding, keep)
    result = maker.typed(shape, maker.result_scale(x, weights, data, 0))
    return maker.layer(op, [x, maker.value(weights, data), maker.bias(outputs)], result)


def _flattened(maker: Wild, x: str) -> str:
    shape = (1, maker.type_of(x).elements)
    return x if maker.shape_of(x) == shape else maker.layer(Reshape(shape), [x], maker.like(x, shape)) or x


def transposed(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """A transposed convolution, cut at its edges or with results that nothing reaches."""
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    groups = maker.whole(1, 1, 1, shape[3])
    outputs, kernel = groups * maker.whole(1, 2, 3, 5, 8), (maker.whole(1, 2, 3, 4), maker.whole(1, 2, 3, 4))
    strides = (maker.whole(1, 2, 2, 3), maker.whole(1, 2, 2, 3))
    cut = (maker.whole(0, kernel[0] // 2), maker.whole(0, kernel[1] // 2))
    sizes = [(size - 1) * stride + taps - 2 * off + maker.whole(0, 0, 1)
             for size, stride, taps, off in zip(shape[1:3], strides, kernel, cut, strict=True)]  # fmt: skip
    if min(sizes) < 1:
        return None
    weights, data = maker.weights((outputs, *kernel, shape[3] // groups), 0)
    result = maker.typed((1, *sizes, outputs), maker.result_scale(x, weights, data, 0))
    op = TransposedConv2D(*strides, *cut, *sizes, maker.activation())
    return maker.layer(op, [x, maker.value(weights, data), maker.bias(outputs)], result)


def residual(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """A convolution that keeps the shape, and the sum of what went in and what came out."""
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    kernel = (3, 3) if maker.chance(0.7) else (1, 3)
    weights, data = maker.weights((shape[3], *kernel, shape[3]), 0)
    padding = Padding(kernel[0] // 2, kernel[0] // 2, kernel[1] // 2, kernel[1] // 2)
    op = Conv2D(1, 1, 1, 1, padding, maker.activation(), Rounding.DOUBLE)
    made = _convolution(maker, x, op, op.window(weights), weights, data, 0)
    return made and maker.layer(Add(maker.activation()), [made, x], maker.typed(shape))


def lstm(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Over the rows; its states live from one inference to the next."""
    del values
    elements = maker.type_of(x).elements
    steps = maker.whole(*(size for size in range(1, 7) if elements % size == 0))
    if elements // steps > 40:
        return None
    width, depth = maker.whole(1, 2, 3, 4, 5, 8), elements // steps
    x = maker.layer(Reshape((1, steps, depth)), [x], maker.like(x, (1, steps, depth))) or x
    held = maker.typed((1, width), maker.scale(0.008, 0.3))
    wide = Quantization((2.0 ** -maker.whole(9, 11, 12, 12, 15),), (0,), None)
    cells = held if maker.is_float else TensorType(DType.INT16, (1, width), wide)
    names: list[str | None] = [x]
    for shape in [(width, depth)] * 4 + [(width, width)] * 4:
        if maker.is_float:
            names.append(maker.constant(TensorType(DType.FLOAT32, shape)))
            continue
        type_ = TensorType(DType.INT8, shape, Quantization((maker.scale(0.01, 0.5),), (0,), None))
        names.append(maker.value(type_, maker.rng.integers(-127, 128, shape).astype(np.int8)))
    for _ in range(4):
        data = maker.rng.integers(-3000, 3000, width)
        type_ = TensorType(DType.FLOAT32 if maker.is_float else DType.INT32, (width,))
        names.append(maker.value(type_, (data / 2000).astype(np.float32) if maker.is_float else data.astype(np.int32)))
    before = [maker.value(type_) for type_ in (held, cells)]
    result = TensorType(held.dtype, (1, steps, width), held.quantization)
    scale = 0.0 if held.quantization is None else held.quantization.scale
    op = Lstm(scale, held.zero_point, maker.whole(0, 0, 1) * 1.5)
    made = maker.layer(op, [*names, *before], result, held, cells)
    if made is not None:
        for name, after in zip(before, maker.builder.nodes[-1].outputs[1:], strict=True):
            type_ = maker.type_of(name)
            maker.builder.state(name, after, np.full(type_.shape, type_.zero_point, type_.dtype.numpy))
    else:
        for name in before:
            del maker.builder.values[name]
    return made
