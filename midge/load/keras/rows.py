"""Which function writes which layer as records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.keras import recurrent, weighted
from midge.load.keras.layer import Layer, Refused, to_numpy


def passed_on(layer: Layer) -> str:
    """Layers that are nothing at inference."""
    return layer.x


def activation(layer: Layer) -> str:
    return layer.activated(layer.x)


def relu(layer: Layer) -> str:
    found = layer.layer
    if found.threshold:
        raise Refused("a threshold")
    low = float(found.negative_slope)
    if low and found.max_value is not None:
        raise Refused("a slope below zero and a largest value")
    if low:
        return layer.op("LeakyRelu", layer.x, alpha=low)
    if found.max_value is None:
        return layer.op("Relu", layer.x)
    return layer.op("Clip", layer.x, min=0.0, max=float(found.max_value))


def leaky_relu(layer: Layer) -> str:
    return layer.op("LeakyRelu", layer.x, alpha=float(layer.layer.negative_slope))


def prelu(layer: Layer) -> str:
    return layer.op("PRelu", layer.x, layer.constant(layer.need("alpha")[None], "slopes"))


def elu(layer: Layer) -> str:
    return layer.op("Elu", layer.x, alpha=float(layer.layer.alpha))


def softmax(layer: Layer) -> str:
    if not isinstance(layer.layer.axis, int):
        raise Refused("several axes at once")
    return layer.op("Softmax", layer.x, axis=layer.layer.axis)


def pool(kind: str) -> Callable[[Layer], str]:
    def row(layer: Layer) -> str:
        layer.images()
        found = layer.layer
        scheme = "SAME_UPPER" if found.padding == "same" else "VALID"
        return layer.last(layer.op(kind, layer.first(), kernel_shape=list(found.pool_size),
                                   strides=list(found.strides), auto_pad=scheme))  # fmt: skip

    return row


def global_pool(kind: str) -> Callable[[Layer], str]:
    def row(layer: Layer) -> str:
        layer.images()
        return layer.op(kind, layer.x, axes=list(range(1, layer.rank - 1)), keepdims=int(layer.layer.keepdims))

    return row


def merged(kind: str) -> Callable[[Layer], str]:
    """Sums and products of any number of tensors."""

    def row(layer: Layer) -> str:
        found = layer.inputs[0]
        for other in layer.inputs[1:]:
            found = layer.op(kind, found, other)
        return found

    return row


def average(layer: Layer) -> str:
    return layer.op("Mul", merged("Add")(layer), layer.constant(1 / len(layer.inputs)))


def concatenate(layer: Layer) -> str:
    return layer.op("Concat", *layer.inputs, axis=int(layer.layer.axis))


def reshape(layer: Layer) -> str:
    return layer.reshaped(layer.x, layer.result_shape)


def permute(layer: Layer) -> str:
    return layer.op("Transpose", layer.x, perm=[0, *layer.layer.dims])


def zero_padding(layer: Layer) -> str:
    layer.images()
    padding = layer.layer.padding
    pairs = [(0, 0), *([padding] if isinstance(padding[0], int) else padding), (0, 0)]
    return layer.op("Pad", layer.x, layer.integers([a for a, _ in pairs] + [b for _, b in pairs]))


def cropping(layer: Layer) -> str:
    layer.images()
    given = layer.layer.cropping
    pairs = [given] if isinstance(given[0], int) else given
    axes = list(range(1, 1 + len(pairs)))
    ends = [layer.shapes[0][axis] - after for axis, (_, after) in zip(axes, pairs, strict=True)]
    return layer.op("Slice", layer.x, layer.integers([a for a, _ in pairs]), layer.integers(ends),
                    layer.integers(axes))  # fmt: skip


def rescaling(layer: Layer) -> str:
    scale, offset = to_numpy(layer.layer.scale), to_numpy(layer.layer.offset)
    scaled = layer.op("Mul", layer.x, layer.constant(scale))
    return layer.op("Add", scaled, layer.constant(offset)) if np.any(offset) else scaled


def normalization(layer: Layer) -> str:
    """(x - mean) / max(deviation, epsilon)."""
    if layer.layer.invert:
        raise Refused("the inverse")
    mean = to_numpy(layer.layer.mean).astype(np.float64)
    deviation = np.maximum(np.sqrt(to_numpy(layer.layer.variance).astype(np.float64)), 1e-7)
    return layer.op("Mul", layer.op("Sub", layer.x, layer.constant(mean)), layer.constant(1 / deviation))


def upsampling(layer: Layer) -> str:
    """Nearest neighbours: each element again and again; or bilinear."""
    layer.images()
    kind = getattr(layer.layer, "interpolation", "nearest")
    if kind == "bilinear":
        return _bilinear(layer)
    if kind != "nearest":
        raise Refused(f"interpolation {kind}")
    size = layer.layer.size
    factors = (size,) if isinstance(size, int) else tuple(size)
    wide, repeated = [1], [1]
    for have, factor in zip(layer.shapes[0][1:-1], factors, strict=True):
        wide += [have, 1]
        repeated += [have, factor]
    channels = layer.shapes[0][-1]
    spread = layer.op("Expand", layer.reshaped(layer.x, [*wide, channels]), layer.integers([*repeated, channels]))
    return layer.reshaped(spread, layer.result_shape)


def resizing(layer: Layer) -> str:
    """Bilinear, to the whole of the result."""
    layer.images()
    found = layer.layer
    if found.interpolation != "bilinear":
        raise Refused(f"interpolation {found.interpolation}")
    if found.crop_to_aspect_ratio or found.pad_to_aspect_ratio or getattr(found, "antialias", False):
        raise Refused("an aspect ratio that is kept, or antialiasing")
    return _bilinear(layer)


def _bilinear(layer: Layer) -> str:
    batch, height, width, channels = layer.result_shape
    sizes = layer.integers([batch, channels, height, width])
    return layer.last(layer.op("Resize", layer.first(), "", "", sizes, mode="linear",
                               coordinate_transformation_mode="half_pixel"))  # fmt: skip


_DROPPED = "ActivityRegularization Dropout GaussianDropout GaussianNoise Identity SpatialDropout1D SpatialDropout2D"
_GLOBAL = {"Average": "ReduceMean", "Max": "ReduceMax"}
_POOLS = {"Average": "AveragePool", "Max": "MaxPool"}
_MERGED = {"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Maximum": "Max", "Minimum": "Min"}

ROWS: dict[str, Callable[[Layer], Any]] = {
    **dict.fromkeys(_DROPPED.split(), passed_on),
    **{f"{name}Pooling{k}D": pool(kind) for name, kind in _POOLS.items() for k in (1, 2)},
    **{f"Global{name}Pooling{k}D": global_pool(kind) for name, kind in _GLOBAL.items() for k in (1, 2)},
    **{name: merged(kind) for name, kind in _MERGED.items()},
    **weighted.ROWS,
    **recurrent.ROWS,
    "Activation": activation,
    "Average": average,
    "Concatenate": concatenate,
    "Cropping1D": cropping,
    "Cropping2D": cropping,
    "ELU": elu,
    "Flatten": reshape,
    "LeakyReLU": leaky_relu,
    "Normalization": normalization,
    "PReLU": prelu,
    "Permute": permute,
    "ReLU": relu,
    "Rescaling": rescaling,
    "Reshape": reshape,
    "Resizing": resizing,
    "Softmax": softmax,
    "UpSampling1D": upsampling,
    "UpSampling2D": upsampling,
    "ZeroPadding1D": zero_padding,
    "ZeroPadding2D": zero_padding,
}
"""Class of a layer -> the function that returns the record of its result."""
