"""The layers of wild networks: each function puts one (or a few) on a value, or says None where it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from wild_networks import Wild
from wild_weighted import conv, depthwise, fully_connected, lstm, residual, transposed

from midge.ir.types import DType, Quantization, TensorType
from midge.ops import map as maps
from midge.ops import reduce as reduces
from midge.ops.add import Add
from midge.ops.arg_extreme import ArgExtreme
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation
from midge.ops.binary import Binary
from midge.ops.binary import Function as BinaryFunction
from midge.ops.cast import Cast
from midge.ops.compare import Compare
from midge.ops.compare import Function as Compared
from midge.ops.concatenation import Concatenation
from midge.ops.dequantize import Dequantize
from midge.ops.leaky_relu import LeakyRelu
from midge.ops.logistic import Logistic
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean, reduced_shape
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.rearrange import rearrangement
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.resize_bilinear import ResizeBilinear
from midge.ops.select import Select
from midge.ops.softmax import Softmax
from midge.ops.sub import Sub
from midge.ops.take import Take
from midge.ops.tanh import Tanh
from midge.ops.windows import Window

Layer = Callable[[Wild, str, Sequence[str]], str | None]


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


def choice(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """The value where it compares to another one, and a constant elsewhere. A float may be on either side."""
    if maker.is_float:
        return None
    function = (Compared.LESS, Compared.GREATER_EQUAL, Compared.EQUAL)[int(maker.rng.integers(3))]
    flag = maker.layer(Compare(function), [x, _partner(maker, x, values)], TensorType(DType.BOOL, maker.shape_of(x)))
    other = maker.constant(maker.like(x, _broadcastable(maker, x)))
    return flag and maker.layer(Select(), [flag, x, other], maker.type_of(x))


def index(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Where the largest or smallest value is, perhaps as floats: an output, for no other layer reads it."""
    del values
    if maker.is_float:
        return None
    axis, keep = maker.axis(maker.shape_of(x)), maker.chance(0.5)
    shape = reduced_shape(maker.shape_of(x), (axis,), keep)
    found = maker.layer(ArgExtreme(maker.chance(0.7), axis, keep), [x], TensorType(DType.INT32, shape))
    if found is not None and maker.chance(0.5):
        maker.layer(Cast(), [found], TensorType(DType.FLOAT32, shape))
    return None


def resize(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    sizes = tuple(maker.whole(1, size, 2 * size, size + 3, (size + 1) // 2) for size in shape[1:3])
    ways = ((False, False), (True, False), (False, True))[int(maker.rng.integers(3))]
    return maker.layer(ResizeBilinear(*sizes, *ways), [x], maker.like(x, (1, *sizes, shape[3])))


LAYERS: tuple[tuple[Layer, float], ...] = (
    (conv, 6), (depthwise, 4), (residual, 2), (transposed, 1), (fully_connected, 2), (lstm, 0.7), (pool, 2.5),
    (elementwise, 3), (extremum, 0.7), (choice, 0.5), (concatenation, 1.5), (pad, 1), (split, 1), (movement, 1),
    (reduction, 1.5), (index, 0.4), (reshape, 0.7), (resize, 0.7), (unary, 2.5), (through_float, 0.3),
)  # fmt: skip
"""Each with how often it is drawn."""
