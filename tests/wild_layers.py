"""The layers of wild networks: each function puts one (or a few) on a value, or says None where it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from wild_networks import Wild

from midge.ir.types import DType, Quantization, TensorType
from midge.ops import map as maps
from midge.ops import reduce as reduces
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Padding, Rounding
from midge.ops.binary import Binary
from midge.ops.binary import Function as BinaryFunction
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.dequantize import Dequantize
from midge.ops.fully_connected import FullyConnected
from midge.ops.leaky_relu import LeakyRelu
from midge.ops.logistic import Logistic
from midge.ops.lstm import Lstm
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean, reduced_shape
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.rearrange import rearrangement
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.softmax import Softmax
from midge.ops.sub import Sub
from midge.ops.take import Take
from midge.ops.tanh import Tanh
from midge.ops.windows import Window

Layer = Callable[[Wild, str, Sequence[str]], str | None]


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


def elementwise(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """A sum, difference or product with another value, a constant, or itself."""
    other = _partner(maker, x, values)
    kind = (Add, Add, Add, Sub, Mul)[int(maker.rng.integers(5))]
    pair = [x, other] if maker.chance(0.7) else [other, x]
    shape = np.broadcast_shapes(*(maker.shape_of(name) for name in pair))
    if maker.is_float:
        return maker.layer(kind(maker.activation()), pair, maker.typed(shape))
    a, b = (maker.type_of(name).quantization for name in pair)
    assert a is not None and b is not None
    about = a.scale * b.scale * 60 if kind is Mul else max(a.scale, b.scale)
    return maker.layer(kind(maker.activation()), pair, maker.typed(shape, maker.scale(about, 0.5)))


def extremum(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """The larger or the smaller of two values of one type."""
    function = BinaryFunction.MAXIMUM if maker.chance(0.5) else BinaryFunction.MINIMUM
    same = [name for name in values if maker.type_of(name) == maker.type_of(x) and name != x]
    other = same[-1] if same and maker.chance(0.6) else maker.constant(maker.like(x, _broadcastable(maker, x)))
    return maker.layer(Binary(function, maker.activation()), [x, other], maker.type_of(x))


def _partner(maker: Wild, x: str, values: Sequence[str]) -> str:
    fitting = [name for name in values if maker.shape_of(name) == maker.shape_of(x) and name != x]
    if fitting and maker.chance(0.7):
        return fitting[int(maker.rng.integers(len(fitting)))]
    if maker.chance(0.1):
        return x
    return maker.constant(maker.typed(_broadcastable(maker, x)))


def _broadcastable(maker: Wild, x: str) -> tuple[int, ...]:
    shape = maker.shape_of(x)
    kind = maker.some("same", "channels", "number", "any")
    if kind == "channels":
        return shape[-1:]
    if kind == "number":
        return (1,)
    return shape if kind == "same" else tuple(size if maker.chance(0.5) else 1 for size in shape)


def concatenation(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """With other values of its type but for one axis, requantised where their scales differ."""
    shape = maker.shape_of(x)
    axis = maker.axis(shape)
    rest = (*shape[:axis], *shape[axis + 1 :])
    parts = [x]
    for name in list(values)[::-1][:4]:
        other = maker.shape_of(name)
        if len(other) == len(shape) and (*other[:axis], *other[axis + 1 :]) == rest and maker.chance(0.6):
            fits = maker.type_of(name).quantization == maker.type_of(x).quantization
            made = name if fits else maker.layer(Quantize(), [name], maker.like(x, other))
            parts += [] if made is None else [made]
    if len(parts) == 1 or maker.chance(0.2):
        parts.append(maker.constant(maker.like(x, shape)))
    total = sum(maker.shape_of(name)[axis] for name in parts)
    return maker.layer(Concatenation(axis, Activation.NONE), [*parts],
                       maker.like(x, (*shape[:axis], total, *shape[axis + 1 :])))  # fmt: skip


def pad(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    pairs = tuple((0, 0) if axis == 0 or maker.chance(0.4) else (maker.whole(0, 1, 2), maker.whole(0, 1, 3))
                  for axis in range(len(shape)))  # fmt: skip
    return maker.layer(Pad(pairs), [x], maker.like(x, tuple(s + sum(p) for s, p in zip(shape, pairs, strict=True))))


def split(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Two slices along an axis; the other one is left for later layers, or for an output."""
    del values
    shape = maker.shape_of(x)
    axis = maker.axis(shape)
    if shape[axis] < 2:
        return None
    at = int(maker.rng.integers(1, shape[axis]))
    positions = np.arange(math.prod(shape)).reshape(shape)
    for part in np.split(positions, [at], axis):
        op = rearrangement(part)
        made = None if op is None else maker.layer(op, [x], maker.like(x, part.shape))
    return made


def movement(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """A transpose, every other element, a mirror, or any order at all."""
    del values
    shape = maker.shape_of(x)
    positions = np.arange(math.prod(shape)).reshape(shape)
    kind = maker.some("transpose", "step", "mirror", "any")
    axis = maker.axis(shape)
    if kind == "transpose":
        positions = positions.transpose(0, *(1 + maker.rng.permutation(len(shape) - 1)))
    elif kind == "step":
        positions = positions[(slice(None),) * axis + (slice(None, None, 2),)]
    elif kind == "mirror":
        positions = np.flip(positions, axis)
    else:
        positions = maker.rng.permutation(positions.reshape(-1)).reshape(shape)
    op = rearrangement(positions)
    if op is not None:
        return maker.layer(op, [x], maker.like(x, positions.shape))
    table = maker.value(TensorType(DType.INT32, positions.shape), positions.astype(np.int32))
    return maker.layer(Take(), [x, table], maker.like(x, positions.shape))


def pool(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    whole = maker.chance(0.3)
    kernel = (shape[1], shape[2]) if whole else (maker.whole(1, 2, 2, 3), maker.whole(1, 2, 2, 3))
    strides = kernel if maker.chance(0.5) else (maker.whole(1, 2, 3), maker.whole(1, 2, 3))
    padding = maker.padding(kernel)
    rows, columns = Window(*kernel, *strides, 1, 1, padding).output_size(shape[1], shape[2])
    if rows < 1 or columns < 1:
        return None
    kind = AveragePool2D if maker.chance(0.5) else MaxPool2D
    op = kind(*kernel, *strides, padding, maker.activation())
    return maker.layer(op, [x], maker.like(x, (1, rows, columns, shape[3])))


def reduction(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    if len(shape) < 2:
        return None
    axes = tuple(axis for axis in range(1, len(shape)) if maker.chance(0.5)) or (maker.axis(shape),)
    keep = maker.chance(0.5)
    after = reduced_shape(shape, axes, keep)
    if maker.chance(0.7):
        scale = None if maker.is_float else maker.scale(maker.type_of(x).quantization.scale, 0.5)  # type: ignore[union-attr]
        return maker.layer(Mean(axes, keep), [x], maker.typed(after, scale))
    function = reduces.Function.MAX if maker.chance(0.5) else reduces.Function.MIN
    return maker.layer(reduces.Reduce(function, axes, keep), [x], maker.like(x, after))


def reshape(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Any split of the elements into rows, pixels and channels."""
    del values
    left, sizes = maker.type_of(x).elements, []
    for _ in range(maker.whole(0, 1, 2)):
        divisors = [size for size in range(1, min(left, 20) + 1) if left % size == 0]
        sizes.append(maker.whole(*divisors))
        left //= sizes[-1]
    shape = (1, *sizes, left)
    return None if shape == maker.shape_of(x) else maker.layer(Reshape(shape), [x], maker.like(x, shape))


def unary(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """A function of one value; those with a result in a range of their own have its scale."""
    del values
    shape, kind = maker.shape_of(x), maker.whole(0, 1, 2, 3, 4, 5, 6)
    if kind == 0:
        return maker.layer(Tanh(), [x], _fixed(maker, shape, 1 / 128, 0))
    if kind == 1:
        return maker.layer(Logistic(), [x], _fixed(maker, shape, 1 / 256, -128))
    if kind == 2:
        return maker.layer(Softmax(float(maker.whole(1, 1, 2))), [x], _fixed(maker, shape, 1 / 256, -128))
    same = maker.type_of(x) if maker.chance(0.5) else maker.typed(shape)
    if kind == 3:
        return maker.layer(Relu(Activation(maker.some("relu", "relu6", "relu_n1_to_1"))), [x], same)
    if kind == 4:
        return maker.layer(LeakyRelu(float(maker.some(0.1, 0.3, 0.0, 1.5))), [x], same)  # type: ignore[arg-type]
    if kind == 5:
        functions = [maps.Function.ABS, maps.Function.NEG] if maker.is_float else [*maps.TABULATED]
        return maker.layer(maps.Map(functions[int(maker.rng.integers(len(functions)))]), [x], same)
    return None if maker.is_float else maker.layer(Quantize(), [x], same)


def _fixed(maker: Wild, shape: tuple[int, ...], scale: float, zero_point: int) -> TensorType:
    quantization = None if maker.is_float else Quantization((scale,), (zero_point,), None)
    return TensorType(DType.FLOAT32 if maker.is_float else DType.INT8, shape, quantization)


def through_float(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Out of the integers and back again."""
    del values
    if maker.is_float:
        return None
    real = TensorType(DType.FLOAT32, maker.shape_of(x))
    made = maker.layer(Dequantize(), [x], real)
    made = made and maker.layer(maps.Map(maps.Function.ABS), [made], real)
    return made and maker.layer(Quantize(), [made], maker.typed(maker.shape_of(x)))


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
    return made and elementwise(maker, made, [x])


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


LAYERS: tuple[tuple[Layer, float], ...] = (
    (conv, 6), (depthwise, 4), (residual, 2), (fully_connected, 2), (pool, 2.5), (elementwise, 3), (extremum, 0.7),
    (concatenation, 1.5), (pad, 1), (split, 1), (movement, 1), (reduction, 1.5), (reshape, 0.7), (unary, 2.5),
    (through_float, 0.3), (lstm, 0.7),
)  # fmt: skip
"""Each with how often it is drawn."""
