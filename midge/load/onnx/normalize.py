"""Normalisations: of batches (as they were in training), layers, instances, and of neighbouring channels."""

from __future__ import annotations

import numpy as np

from midge.ir.types import TensorType
from midge.load.onnx import elementwise
from midge.load.onnx.functions import apply, number, pair, two
from midge.load.onnx.held import Held, Known, channels_last
from midge.load.onnx.reductions import reduced
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Padding
from midge.ops.binary import Function as Pair
from midge.ops.map import Function
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.sub import Sub


def batch_norm(site: Site) -> None:
    """BatchNormalization at inference: a factor and an offset for each channel."""
    if site.attribute("training_mode", 0) or any(map(site.is_read, range(1, len(site.node.outputs)))):
        site.unsupported("training mode")
    x = site.held(0)
    scale, offset, mean, variance = (
        site.known(position, "statistics").astype(np.float64).reshape(-1) for position in (1, 2, 3, 4)
    )
    channels = x.shape[1] if len(x.shape) > 1 else 1
    if not all(array.size == channels for array in (scale, offset, mean, variance)):
        site.broken(f"statistics of {scale.size} channels", f"{channels}")
    factor = scale / np.sqrt(variance + float(site.attribute("epsilon", 1e-5)))
    shape = (channels, *(1,) * (len(x.shape) - 2))
    elementwise.combine(site, Mul, x, Known(factor.astype(np.float32).reshape(shape)))
    scaled = site.importer.tensors[site.node.outputs[0]]
    elementwise.combine(site, Add, scaled, Known((offset - mean * factor).astype(np.float32).reshape(shape)))


def layer_norm(site: Site) -> None:
    """LayerNormalization over the axes from `axis` on: (x - mean) / sqrt(variance + epsilon), scaled and shifted."""
    x = site.importer.real(site.held(0))
    rank = len(x.shape)
    axes = tuple(range(site.axis(int(site.attribute("axis", -1)), rank), rank))
    parts = _normalized(site, x, axes, float(site.attribute("epsilon", 1e-5)))
    for position, part in enumerate(parts[1:], start=1):
        if position < len(site.node.outputs) and site.node.outputs[position]:
            site.bind(part, position)
    site.bind(_scaled_and_shifted(site, parts[0], None))


def instance_norm(site: Site) -> None:
    """InstanceNormalization: each channel of an image."""
    x = site.importer.real(site.held(0))
    rank = len(x.shape)
    result = _normalized(site, x, tuple(range(2, rank)), float(site.attribute("epsilon", 1e-5)))[0]
    site.bind(_scaled_and_shifted(site, result, (-1, *(1,) * (rank - 2))))


def _normalized(site: Site, x: Held, axes: tuple[int, ...], epsilon: float) -> tuple[Held, Held, Held]:
    """The values, the means that were taken off, and the factors."""
    mean = reduced(site, None, x, axes)
    distance = two(site, Sub, x, mean)
    variance = reduced(site, None, two(site, Mul, distance, distance), axes)
    factor = apply(site, Function.RSQRT, two(site, Add, variance, number(epsilon)))
    return two(site, Mul, distance, factor), mean, factor


def _scaled_and_shifted(site: Site, x: Held, shape: tuple[int, ...] | None) -> Held:
    """Operands 1 and 2 as factor and offset, in that shape."""
    for position, make in ((1, Mul), (2, Add)):
        if site.has(position):
            found = site.operand(position)
            if shape is not None:
                found = (
                    Known(found.array.reshape(shape)) if isinstance(found, Known)
                    else found.rearranged(found.order.reshape(shape))
                )  # fmt: skip
            x = two(site, make, x, found)
    return x


def local_response(site: Site) -> None:
    """LRN: x / (bias + alpha / size · the sum of squares of `size` neighbouring channels)^beta.

    The mean over a window of channels is a pool over [1, pixels, channels, 1]; zeros before and behind count.
    """
    x = site.importer.real(site.held(0))
    size = int(site.attribute("size", 0))
    if len(x.shape) < 2 or size < 1:
        site.broken(f"windows of {size} channels in shape {list(x.shape)}", "channels, and a positive size")
    channels, axes = x.shape[1], channels_last(len(x.shape))
    before, pixels = (size - 1) // 2, x.order.size // channels
    flat = site.place(two(site, Mul, x, x), axes, (1, pixels, channels, 1))
    pairs = ((0, 0), (0, 0), (before, size - 1 - before), (0, 0))
    wide = site.make(Pad(pairs), [flat], TensorType(x.type.dtype, (1, pixels, channels + size - 1, 1)))
    pool = AveragePool2D(1, size, 1, 1, Padding(0, 0, 0, 0), Activation.NONE)
    mean = site.make(pool, [wide], TensorType(x.type.dtype, (1, pixels, channels, 1)))
    energy = site.held_of(mean, x.shape, axes)
    scaled = two(site, Mul, energy, number(float(site.attribute("alpha", 1e-4))))
    total = two(site, Add, scaled, number(float(site.attribute("bias", 1.0))))
    power = number(-float(site.attribute("beta", 0.75)))
    site.bind(two(site, Mul, x, two(site, pair(Pair.POWER), total, power)))
