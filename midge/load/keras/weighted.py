"""Dense layers, convolutions, normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.keras.layer import Layer, Refused


def dense(layer: Layer) -> str:
    kernel, bias = layer.need("kernel"), layer.weights("bias")
    more = () if bias is None else (layer.constant(bias, "bias"),)
    if layer.rank == 2:
        made = layer.op("Gemm", layer.x, layer.constant(kernel, "kernel"), *more)
    else:
        made = layer.op("midge:Linear", layer.x, layer.constant(kernel.T, "kernel"), *more)
    return layer.activated(made)


def convolution(layer: Layer) -> str:
    """Kernel [taps, inputs / groups, outputs], taps of one or two axes."""
    kernel = layer.need("kernel")
    return _convolve(layer, np.moveaxis(kernel, (-1, -2), (0, 1)), int(layer.layer.groups))


def depthwise(layer: Layer) -> str:
    """Kernel [taps, inputs, multiplier]."""
    return _convolve(layer, _of_depthwise(layer.need("kernel")), layer.shapes[0][-1])


def separable(layer: Layer) -> str:
    """A depthwise convolution, then a pointwise one with the bias."""
    layer.images()
    depth, point = layer.need("depthwise_kernel"), layer.need("pointwise_kernel")
    first = layer.op("Conv", layer.first(), layer.constant(_of_depthwise(depth), "depthwise"),
                     group=layer.shapes[0][-1], **_window(layer))  # fmt: skip
    bias = layer.weights("bias")
    more = () if bias is None else (layer.constant(bias, "bias"),)
    made = layer.op("Conv", first, layer.constant(np.moveaxis(point, (-1, -2), (0, 1)), "pointwise"), *more)
    return layer.activated(layer.last(made))


def transposed(layer: Layer) -> str:
    """Kernel [taps, outputs, inputs]."""
    layer.images()
    kernel, bias = layer.need("kernel"), layer.weights("bias")
    strides = _sizes(layer, layer.layer.strides)
    if any(size != 1 for size in _sizes(layer, layer.layer.dilation_rate)):
        raise Refused("dilated taps")
    taps, sizes = kernel.shape[:-2], layer.result_shape[1:-1]
    before = [_cut(layer, *pair, axis) for axis, pair in enumerate(zip(taps, strides, strict=True))]
    full = [(size - 1) * stride + count
            for size, stride, count in zip(layer.shapes[0][1:-1], strides, taps, strict=True)]  # fmt: skip
    after = [have - cut - want for have, cut, want in zip(full, before, sizes, strict=True)]
    operands = () if bias is None else (layer.constant(bias, "bias"),)
    made = layer.op("ConvTranspose", layer.first(), layer.constant(np.moveaxis(kernel, (-1, -2), (0, 1)), "kernel"),
                    *operands, strides=strides, output_padding=[max(0, -cut) for cut in after],
                    pads=[*before, *(max(0, cut) for cut in after)])  # fmt: skip
    return layer.activated(layer.last(made))


def _cut(layer: Layer, taps: int, stride: int, axis: int) -> int:
    """Results cut in front along an axis. Source: keras/src/backend/common/backend_utils.py, as for JAX."""
    if layer.layer.padding == "valid":
        return 0
    more = layer.layer.output_padding
    more = more[axis] if isinstance(more, list | tuple) else more
    total = stride + taps - 2 if more is None else taps + taps % 2 - 2 + more
    return max(taps - 1 - (total + 1) // 2, 0)


def _of_depthwise(kernel: np.ndarray) -> np.ndarray:
    """[taps, inputs, multiplier] as [inputs multiplier, 1, taps]."""
    flat = kernel.reshape(*kernel.shape[:-2], -1)
    return np.moveaxis(flat, -1, 0)[:, None]


def _convolve(layer: Layer, weights: np.ndarray, groups: int) -> str:
    layer.images()
    bias = layer.weights("bias")
    more = () if bias is None else (layer.constant(bias, "bias"),)
    x, attributes = layer.first(), _window(layer)
    if layer.layer.padding == "causal":
        before = (weights.shape[2] - 1) * layer.layer.dilation_rate[0]
        attributes |= {"auto_pad": "NOTSET", "pads": [before, 0]}
    made = layer.op("Conv", x, layer.constant(weights, "kernel"), *more, group=groups, **attributes)
    return layer.activated(layer.last(made))


def _window(layer: Layer) -> dict[str, Any]:
    found = layer.layer
    return {
        "strides": _sizes(layer, found.strides),
        "dilations": _sizes(layer, found.dilation_rate),
        "auto_pad": "SAME_UPPER" if found.padding == "same" else "VALID",
    }


def _sizes(layer: Layer, given: Any) -> list[int]:
    rank = layer.rank - 2
    return [int(given)] * rank if isinstance(given, int) else [int(size) for size in given]


def batch_norm(layer: Layer) -> str:
    """Over the channels, which lie last. Behind a convolution its records see the convolution itself, and join it."""
    axis, channels = int(layer.layer.axis) % layer.rank, layer.shapes[0][-1]
    if axis != layer.rank - 1:
        raise Refused(f"statistics along axis {axis}")
    gamma, beta = layer.weights("gamma"), layer.weights("beta")
    statistics = (
        np.ones(channels) if gamma is None else gamma, np.zeros(channels) if beta is None else beta,
        layer.need("moving_mean"), layer.need("moving_variance"),
    )  # fmt: skip
    names = [layer.constant(array, "statistics") for array in statistics]
    epsilon = float(layer.layer.epsilon)
    if layer.rank == 2:
        return layer.op("BatchNormalization", layer.x, *names, epsilon=epsilon)
    return layer.last(layer.op("BatchNormalization", layer.first(), *names, epsilon=epsilon))


def layer_norm(layer: Layer) -> str:
    axes = layer.layer.axis if isinstance(layer.layer.axis, list | tuple) else [layer.layer.axis]
    if [axis % layer.rank for axis in axes] != [layer.rank - 1]:
        raise Refused(f"statistics along axes {list(axes)}")
    gamma, beta = layer.weights("gamma"), layer.weights("beta")
    factor = layer.constant(np.ones(layer.shapes[0][-1]) if gamma is None else gamma, "gamma")
    more = () if beta is None else (layer.constant(beta, "beta"),)
    return layer.op("LayerNormalization", layer.x, factor, *more, axis=-1, epsilon=float(layer.layer.epsilon))


ROWS: dict[str, Callable[[Layer], str]] = {
    "BatchNormalization": batch_norm,
    "Conv1D": convolution,
    "Conv1DTranspose": transposed,
    "Conv2D": convolution,
    "Conv2DTranspose": transposed,
    "Dense": dense,
    "DepthwiseConv1D": depthwise,
    "DepthwiseConv2D": depthwise,
    "LayerNormalization": layer_norm,
    "SeparableConv1D": separable,
    "SeparableConv2D": separable,
}
