"""Cross-layer equalisation: channels between two layers get ranges that one scale suits (docs/quantization.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ops.base import Activation
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected

_HOMOGENEOUS = (Activation.NONE, Activation.RELU)
"""f(s x) = s f(x) for s > 0; a bound other than 0 would have to be scaled for each channel."""
_MOST_FACTOR = 64.0
_ROUNDS = 4


def pairs(graph: Graph) -> list[tuple[Node, Node]]:
    """Layers with weights of which the second is the only reader of the first one's channels."""
    found = []
    for first in graph.nodes:
        if not isinstance(first.op, Conv2D | DepthwiseConv2D | FullyConnected):
            continue
        (name,) = first.outputs
        readers = graph.consumers(name)
        if len(readers) != 1 or name in graph.sinks or name in readers[0].inputs[1:]:
            continue
        if first.op.activation in _HOMOGENEOUS and _by_channel(graph, readers[0]) is not None:
            found.append((first, readers[0]))
    return found


def _by_channel(graph: Graph, node: Node) -> int | None:
    """The axis of a layer's weights that its input channels lie along; None where they have none of their own."""
    op, names = node.op, [name or "" for name in node.inputs]
    weights = graph.constant(names[1]) if len(names) > 1 else None
    if weights is None or weights.dtype != np.float32:
        return None
    channels = graph.type(names[0]).channels
    if isinstance(op, Conv2D):
        return 3 if weights.shape[3] == channels else None
    if isinstance(op, DepthwiseConv2D):
        return 3 if op.depth_multiplier == 1 else None
    return 1 if isinstance(op, FullyConnected) and weights.shape[1] == channels else None


def equalize(graph: Graph, activations: Mapping[str, np.ndarray]) -> Graph:
    """The same network but for float32 rounding, its channels' ranges brought nearer to each other.

    `activations`: the largest magnitude of each channel of the values between layers, from calibration. Of each pair
    of layers, channel i of the first is divided by s and the second's weights for it are multiplied by s, where
    s = sqrt(a / r) for its magnitude a and the largest weight r that reads it, relative to the layer's mean of s
    (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, with magnitudes
    of activations in place of the first layer's weights).
    """
    seen = {name: array.astype(np.float64) for name, array in activations.items()}
    for _ in range(_ROUNDS):
        for position in range(len(pairs(graph))):
            first, second = pairs(graph)[position]  # of the graph as the pair before left it
            name = first.outputs[0]
            if name in seen:
                graph, factors = _equalized(graph, first, second, seen[name])
                seen[name] = seen[name] / factors
    return graph


def _equalized(graph: Graph, first: Node, second: Node, magnitudes: np.ndarray) -> tuple[Graph, np.ndarray]:
    axis = _by_channel(graph, second)
    weights = graph.constant(second.inputs[1])
    assert axis is not None and weights is not None
    reach = np.abs(np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)).max(axis=1).astype(np.float64)
    usable = (magnitudes > 0) & (reach > 0)
    if not usable.any():
        return graph, np.ones_like(magnitudes)
    factors = np.ones_like(magnitudes)
    factors[usable] = np.sqrt(magnitudes[usable] / reach[usable])
    factors[usable] /= np.exp(np.log(factors[usable]).mean())
    factors = np.clip(factors, 1 / _MOST_FACTOR, _MOST_FACTOR)
    builder = GraphBuilder.of(graph)
    _scale(builder, first, 1, 0 if not isinstance(first.op, DepthwiseConv2D) else 3, 1 / factors)
    _scale(builder, first, 2, 0, 1 / factors)
    _scale(builder, second, 1, axis, factors)
    return builder.build(), factors


def _scale(builder: GraphBuilder, node: Node, position: int, axis: int, factors: np.ndarray) -> None:
    """Multiply a constant operand along an axis; it becomes the node's own."""
    at = next(index for index, other in enumerate(builder.nodes) if other.name == node.name)
    names = dict(enumerate(builder.nodes[at].inputs))
    name = names.get(position)
    if name is None:
        return
    value = builder.values[name]
    assert value.data is not None
    along = [1] * value.data.ndim
    along[axis] = -1
    scaled = (value.data.astype(np.float64) * factors.reshape(along)).astype(np.float32)
    own = builder.value(builder.unique(f"{name}_equalized"), value.type, scaled)
    builder.nodes[at] = replace(builder.nodes[at], inputs=tuple((names | {position: own}).values()))
    if not any(name in other.inputs for other in builder.nodes):
        del builder.values[name]


def channel_magnitudes(graph: Graph, values: Mapping[str, np.ndarray], so_far: dict[str, np.ndarray]) -> None:
    """Raise `so_far` to the largest magnitudes of the channels of the values between pairs, of one sample."""
    for first, _ in pairs(graph):
        name = first.outputs[0]
        array = np.abs(values[name]).reshape(-1, values[name].shape[-1]).max(axis=0)
        so_far[name] = np.maximum(so_far[name], array) if name in so_far else array
