"""More layers of wild networks, for the seeds from `wild_networks.FURTHER` on: those before keep their networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from wild_layers import LAYERS as EARLIER
from wild_layers import Layer
from wild_networks import Wild

from midge.ir.types import DType, Quantization, TensorType
from midge.ops import compare as compares
from midge.ops.arg_extreme import ArgExtreme
from midge.ops.batch_matmul import BatchMatmul
from midge.ops.cast import Cast
from midge.ops.cumsum import Cumsum
from midge.ops.dynamic_update_slice import DynamicUpdateSlice
from midge.ops.gather import Gather
from midge.ops.l2_normalization import L2Normalization
from midge.ops.mean import reduced_shape
from midge.ops.prelu import Prelu
from midge.ops.resize_bilinear import ResizeBilinear
from midge.ops.select import Select
from midge.ops.transposed_conv2d import TransposedConv2D


def transposed(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    groups = maker.whole(1, 1, 1, 2, shape[3])
    if shape[3] % groups:
        return None
    outputs = groups * maker.whole(1, 2, 3, 4, 5, 8)
    kernel, strides = (
        (maker.whole(1, 2, 3, 4, 5), maker.whole(1, 2, 3, 4)),
        (maker.whole(1, 2, 3), maker.whole(1, 2, 3)),
    )
    weights, data = maker.weights((outputs, *kernel, shape[3] // groups), 0)
    full = [(size - 1) * stride + taps for size, stride, taps in zip(shape[1:3], strides, kernel, strict=True)]
    cut = [int(maker.rng.integers(0, taps)) for taps in kernel]
    sizes = [max(1, size - before - maker.whole(-1, 0, 0, 1)) for size, before in zip(full, cut, strict=True)]
    op = TransposedConv2D(*strides, *cut, *sizes, maker.activation())
    result = maker.typed((1, *sizes, outputs), maker.result_scale(x, weights, data, 0))
    return maker.layer(op, [x, maker.value(weights, data), maker.bias(outputs)], result)


def resized(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    if len(shape) != 4:
        return None
    sizes = [max(1, size * maker.whole(1, 2, 3) // maker.whole(1, 1, 2)) for size in shape[1:3]]
    aligned = maker.chance(0.3)
    op = ResizeBilinear(*sizes, aligned, not aligned and maker.chance(0.6))
    return maker.layer(op, [x], maker.like(x, (1, *sizes, shape[3])))


def slopes(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    slope = maker.constant(maker.typed((1,) * len(shape[2:]) + shape[-1:] if maker.chance(0.7) else (1,)))
    return maker.layer(Prelu(), [x, slope], maker.typed(shape))


def product(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Of a value and itself or another value, transposed where that makes them fit."""
    fitting = [name for name in values if maker.shape_of(name)[:-2] == maker.shape_of(x)[:-2]
               and len(maker.shape_of(name)) == len(maker.shape_of(x))]  # fmt: skip
    other = fitting[int(maker.rng.integers(len(fitting)))] if fitting else x
    a, b = maker.type_of(x), maker.type_of(other)
    op = BatchMatmul(maker.chance(0.4), maker.chance(0.6))
    if min(len(a.shape), len(b.shape)) < 2:
        return None
    rows, terms, columns = op.sizes(a, b)
    scale = None
    if a.quantization is not None and b.quantization is not None:
        scale = maker.scale(a.quantization.scale * b.quantization.scale * 60 * terms**0.5, 0.5)
    return maker.layer(op, [x, other], maker.typed((*a.shape[:-2], rows, columns), scale))


def unit(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    quantization = None if maker.is_float else Quantization((1 / 128,), (0,), None)
    return maker.layer(L2Normalization(), [x], TensorType(maker.type_of(x).dtype, maker.shape_of(x), quantization))


def choice(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """By a comparison with another value or a number; the condition may become an output too, as a number."""
    fitting = [name for name in values if maker.shape_of(name) == maker.shape_of(x)]
    other = fitting[0] if maker.chance(0.5) else maker.constant(maker.typed((1,)))
    functions = [one for one in compares.Function if one not in (compares.Function.AND, compares.Function.OR)]
    function = functions[int(maker.rng.integers(len(functions)))]
    flags = TensorType(DType.BOOL, maker.shape_of(x))
    flag = maker.layer(compares.Compare(function), [x, other], flags)
    if flag is None:
        return None
    if maker.chance(0.3):
        maker.layer(Cast(), [flag], TensorType(DType.INT32 if maker.chance(0.5) else DType.FLOAT32, flags.shape))
    if maker.chance(0.3):
        flag = maker.layer(compares.Compare(compares.Function.OR), [flag, flag], flags) or flag
    alike = [name for name in values if maker.type_of(name) == maker.type_of(x) and name != x]
    rest = alike[-1] if alike and maker.chance(0.7) else maker.constant(maker.like(x, (1,)))
    return maker.layer(Select(), [flag, x, rest], maker.type_of(x))


def index(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    """Where the extremes lie, for an output; or parts by those indices."""
    del values
    shape = maker.shape_of(x)
    axis = maker.axis(shape)
    kept = maker.chance(0.5)
    indices = TensorType(DType.INT32 if maker.chance(0.8) else DType.INT64, reduced_shape(shape, (axis,), kept))
    made = maker.layer(ArgExtreme(maker.chance(0.5), axis, kept), [x], indices)
    if made is None or maker.chance(0.5) or len(shape) + len(indices.shape) > 6:
        return None
    along = maker.axis(shape)
    return maker.layer(Gather(along), [x, made],
                       maker.like(x, (*shape[:along], *indices.shape, *shape[along + 1 :])))  # fmt: skip


def update(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    shape = maker.shape_of(x)
    part = tuple(int(maker.rng.integers(1, size + 1)) for size in shape)
    start = np.array([int(maker.rng.integers(-1, size + 1)) for size in shape], np.int32)
    place = maker.value(TensorType(DType.INT32, (len(shape),)), start)
    return maker.layer(DynamicUpdateSlice(), [x, maker.constant(maker.like(x, part)), place], maker.type_of(x))


def running_sum(maker: Wild, x: str, values: Sequence[str]) -> str | None:
    del values
    op = Cumsum(maker.axis(maker.shape_of(x)), maker.chance(0.3))
    return maker.layer(op, [x], maker.type_of(x)) if maker.is_float else None


LAYERS: tuple[tuple[Layer, float], ...] = (
    *EARLIER, (transposed, 4), (resized, 2.5), (slopes, 2), (product, 2), (unit, 0.7), (choice, 2), (index, 1.5),
    (update, 1), (running_sum, 1),
)  # fmt: skip
"""Each with how often it is drawn."""
