"""Cut a graph down to chosen channels, adding what the removed ones contributed to the biases of their readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Op
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.pad import Pad
from midge.ops.reshape import Reshape
from midge.passes.constant_channels import Folding
from midge.passes.needed_channels import Foldings, Masks, regroup
from midge.passes.weighted import WINDOWED, any_along, flat_weights, grouped_weights, groups_of


def slice_channels(graph: Graph, masks: Masks, foldings: Foldings) -> Graph:
    """The graph with the channels in `masks` only, which must be closed under `needed_channels`' rules."""
    builder = GraphBuilder.of(graph)
    for name, mask in masks.items():
        if not mask.all():
            value = graph.values[name]
            data = None if value.data is None else value.data[..., mask]
            builder.value(name, replace(value.type, shape=(*value.type.shape[:-1], int(mask.sum()))), data)
    for position, node in enumerate(graph.nodes):
        if isinstance(node.op, (*WINDOWED, FullyConnected)):
            builder.nodes[position] = _weighted(graph, builder, node, masks, foldings.get(node.name))
        elif isinstance(node.op, Reshape):
            shape = builder.values[node.outputs[0]].type.shape
            builder.nodes[position] = replace(node, op=Reshape(shape))
        elif isinstance(node.op, Pad):
            builder.nodes[position] = replace(node, op=_pad(node.op, masks[node.outputs[0]]))
    return builder.build()


def _pad(op: Pad, y_mask: np.ndarray) -> Pad:
    """Channels of padding are all alike, so only their numbers count."""
    before, after = op.paddings[-1]
    kept = int(y_mask[:before].sum()), int(y_mask[y_mask.size - after :].sum())
    return Pad((*op.paddings[:-1], kept))


def _weighted(graph: Graph, builder: GraphBuilder, node: Node, masks: Mapping[str, np.ndarray],
              folding: Folding | None) -> Node:  # fmt: skip
    """The layer with sliced weights and bias."""
    x, w, _ = node.inputs
    assert x is not None and w is not None
    x_mask, y_mask = masks[x], masks[node.outputs[0]]
    data = graph.constant(w)
    if (x_mask.all() and y_mask.all()) or data is None:
        return node
    grouped = grouped_weights(node, data, graph.type(x))
    outputs = y_mask.reshape(groups_of(graph, node), -1)
    inputs = regroup(x_mask, outputs.shape[0] * grouped.shape[4]).reshape(outputs.shape[0], -1)
    kept = np.flatnonzero(any_along(outputs, 1))
    cut = np.stack([grouped[group][outputs[group]][..., inputs[group]] for group in kept])
    weights = _constant(graph, builder, node, w, flat_weights(node, cut), _cut_type(graph.type(w), y_mask))
    bias = _bias(graph, builder, node, y_mask, _removed_sums(folding, inputs, y_mask))
    return Node(node.name, _operator(node.op, cut.shape[1]), (x, weights, bias), node.outputs)


def _operator(op: Op, outputs_per_group: int) -> Op:
    return replace(op, depth_multiplier=outputs_per_group) if isinstance(op, DepthwiseConv2D) else op


def _removed_sums(folding: Folding | None, inputs: np.ndarray, y_mask: np.ndarray) -> np.ndarray:
    """What the removed inputs added to each kept output."""
    if folding is None:
        return np.zeros(int(y_mask.sum()), np.int64)
    return np.where(inputs[:, None, :], 0, folding.sums).sum(axis=2).ravel()[y_mask]


def _bias(graph: Graph, builder: GraphBuilder, node: Node, y_mask: np.ndarray, added: np.ndarray) -> str | None:
    name = node.inputs[2]
    data = graph.constant(name)
    if name is not None and data is not None:
        cut = data[y_mask]
        return _constant(graph, builder, node, name, (cut + added).astype(cut.dtype) if added.any() else cut,
                         _cut_type(graph.type(name), y_mask))  # fmt: skip
    if not added.any():
        return None
    # Layers of int16 without a bias have accumulators of 64 bits.
    dtype = DType.INT64 if graph.type(node.inputs[0] or "").dtype is DType.INT16 else DType.INT32
    type_ = TensorType(dtype, added.shape)
    return builder.value(builder.unique(f"{node.name}_bias"), type_, added.astype(dtype.numpy))


def _constant(graph: Graph, builder: GraphBuilder, node: Node, name: str, data: np.ndarray, type_: TensorType) -> str:
    """New data under the constant's name, or under another where other nodes read the old data."""
    shared = graph.consumers(name) != (node,) or node.inputs.count(name) > 1 or name in graph.sinks
    return builder.value(builder.unique(name) if shared else name, replace(type_, shape=data.shape), data)


def _cut_type(type_: TensorType, y_mask: np.ndarray) -> TensorType:
    """The type of weights or bias with the scales of the kept outputs; the shape is the caller's."""
    quantization = type_.quantization
    if quantization is None or quantization.axis is None or len(quantization.scales) != y_mask.size:
        return type_
    scales = tuple(np.array(quantization.scales)[y_mask].tolist())
    zero_points = tuple(np.array(quantization.zero_points)[y_mask].tolist())
    return replace(type_, quantization=Quantization(scales, zero_points, quantization.axis))
