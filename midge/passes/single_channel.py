"""A depthwise convolution of one channel is a convolution; those have the faster kernels.

    %y = depthwise_conv2d %x[1,H,W,1] %w[1,KH,KW,O]          →          %y = conv2d %x %w[O,KH,KW,1]

Keeps exact bits: the same products, added in 32 bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.types import DType, TensorType
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.passes.options import PassOptions
from midge.targets.records import Board


def refuse(graph: Graph, node: Node) -> str | None:
    """None where a depthwise convolution is a convolution too; else the reason why not."""
    x = graph.type(node.inputs[0] or "")
    if x.channels != 1:
        return f"{x.channels} channels"
    if x.dtype is not DType.INT8:
        return f"{x.dtype.value}: sums in another order can differ"
    return None if graph.constant(node.inputs[1]) is not None else "its weights are not constant"


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """Each such node becomes a convolution of the same name."""
    del board
    builder = GraphBuilder.of(graph)
    for position, node in enumerate(graph.nodes):
        if not isinstance(node.op, DepthwiseConv2D):
            continue
        reason = refuse(graph, node)
        if reason is not None:
            options.refuse(f"single_channel: {node.name} stays, {reason}")
            continue
        builder.nodes[position] = _convolution(graph, builder, node)
    return builder.build() if builder.nodes != list(graph.nodes) else graph


def _convolution(graph: Graph, builder: GraphBuilder, node: Node) -> Node:
    op, name = node.op, node.inputs[1] or ""
    data, type_ = graph.constant(name), graph.type(name)
    assert isinstance(op, DepthwiseConv2D) and data is not None and type_.quantization is not None
    moved = np.ascontiguousarray(data.transpose(3, 1, 2, 0))
    axis = None if type_.quantization.axis is None else 0
    weights = builder.value(
        builder.unique(f"{name}_conv"), TensorType(type_.dtype, moved.shape, replace(type_.quantization, axis=axis)),
        moved,
    )  # fmt: skip
    convolution = Conv2D(op.stride_h, op.stride_w, op.dilation_h, op.dilation_w, op.padding, op.activation, op.rounding)
    return Node(node.name, convolution, (node.inputs[0], weights, *node.inputs[2:]), node.outputs)
