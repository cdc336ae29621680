"""One view of the layers that multiply by constant weights: convolution, depthwise convolution, fully connected.

All three are sums over a window's taps and a group's inputs, so analyses of weights need one formula:

    acc[o] = bias[o] + sum over taps (ky, kx) and inputs i of weights[g, o, ky, kx, i] * (x[g, i] - zero point)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import TensorType
from midge.ops.conv2d import Conv2D
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.windows import Window

WINDOWED = (Conv2D, Conv2DHybrid, DepthwiseConv2D)


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Constant weights [groups, outputs, KH, KW, inputs] (per group), bias [groups * outputs], and border taps.

    `row_taps` [kinds, KH] and `column_taps` [kinds, KW] tell which taps lie inside the input, once for each kind of
    output row and column: all inside in the middle, fewer at a padded border.
    """

    weights: np.ndarray
    bias: np.ndarray
    row_taps: np.ndarray
    column_taps: np.ndarray

    @property
    def groups(self) -> int:
        return self.weights.shape[0]

    @property
    def outputs(self) -> int:
        """Output channels of all groups."""
        return self.weights.shape[0] * self.weights.shape[1]

    @property
    def inputs(self) -> int:
        """Inputs of all groups: channels of a convolution's operand, features of a fully connected layer."""
        return self.weights.shape[0] * self.weights.shape[4]

    @staticmethod
    def by_tap(products: np.ndarray) -> np.ndarray:
        """[groups, outputs, KH, KW] as [KH, KW, groups * outputs]."""
        return products.transpose(2, 3, 0, 1).reshape(*products.shape[2:], -1)

    def border_sums(self, products: np.ndarray) -> np.ndarray:
        """Sums [row kinds, column kinds, ...] of `products` [KH, KW, ...] over the taps inside the input."""
        rows = np.tensordot(self.row_taps, products, (1, 0))
        return np.moveaxis(np.tensordot(self.column_taps, rows, (1, 1)), 0, 1)


def weighted_of(graph: Graph, node: Node) -> Weighted | None:
    """The view of a node; None for other operators and where weights or bias are no constants."""
    if not isinstance(node.op, (*WINDOWED, FullyConnected)):
        return None
    x, weights, bias = (None if name is None else graph.values[name] for name in node.inputs)
    assert x is not None and weights is not None
    if weights.data is None or (bias is not None and bias.data is None):
        return None
    view = grouped_weights(node, weights.data, x.type)
    wide = view if weights.type.dtype.is_float else view.astype(np.float64)
    outputs = view.shape[0] * view.shape[1]
    addends = np.zeros(outputs) if bias is None or bias.data is None else bias.data.astype(np.float64)
    if isinstance(node.op, FullyConnected):
        inside = np.ones((1, 1))
        return Weighted(wide, addends, inside, inside)
    window = node.op.window(weights.type)
    return Weighted(wide, addends, *inside_taps(window, x.type))


def groups_of(graph: Graph, node: Node) -> int:
    """Groups of channels that are computed apart: one for each channel of a depthwise convolution's input."""
    channels = graph.type(node.inputs[0] or "").channels
    if isinstance(node.op, DepthwiseConv2D):
        return channels
    return 1 if isinstance(node.op, FullyConnected) else channels // graph.type(node.inputs[1] or "").channels


def grouped_weights(node: Node, data: np.ndarray, x: TensorType) -> np.ndarray:
    """A layer's weights as [groups, outputs, KH, KW, inputs] (a view; `flat_weights` goes back)."""
    if isinstance(node.op, DepthwiseConv2D):
        _, kernel_h, kernel_w, _ = data.shape
        split = data.reshape(kernel_h, kernel_w, x.channels, node.op.depth_multiplier, 1)
        return split.transpose(2, 3, 0, 1, 4)
    if isinstance(node.op, FullyConnected):
        return data[None, :, None, None, :]
    groups = x.channels // data.shape[3]
    return data.reshape(groups, -1, *data.shape[1:])


def flat_weights(node: Node, grouped: np.ndarray) -> np.ndarray:
    """Back from [groups, outputs, KH, KW, inputs] to the operator's own layout."""
    groups, outputs, kernel_h, kernel_w, inputs = grouped.shape
    if isinstance(node.op, DepthwiseConv2D):
        return grouped.transpose(2, 3, 0, 1, 4).reshape(1, kernel_h, kernel_w, groups * outputs)
    if isinstance(node.op, FullyConnected):
        return grouped.reshape(outputs, inputs)
    return grouped.reshape(groups * outputs, kernel_h, kernel_w, inputs)


def inside_taps(window: Window, x: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """Which taps lie inside the input: [kinds of rows, KH] and [kinds of columns, KW], as 0.0 and 1.0."""
    _, height, width, _ = x.shape
    rows, columns = window.output_size(height, width)
    pad = window.padding
    return (
        _inside(rows, window.kernel_h, window.stride_h, window.dilation_h, pad.top, height),
        _inside(columns, window.kernel_w, window.stride_w, window.dilation_w, pad.left, width),
    )


def any_along(mask: np.ndarray, *axes: int) -> np.ndarray:
    """Where something is true along these axes."""
    return np.logical_or.reduce(mask, axis=axes)


def _inside(results: int, taps: int, stride: int, dilation: int, before: int, size: int) -> np.ndarray:
    positions = np.arange(results)[:, None] * stride + np.arange(taps) * dilation - before
    return np.unique((positions >= 0) & (positions < size), axis=0).astype(np.float64)
