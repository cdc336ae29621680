"""A float graph as the quantiser wants it: rectifiers and padding in their layers, hybrid layers as float ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.types import DType, TensorType
from midge.ops.base import Rounding
from midge.ops.conv2d import Conv2D
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.passes import dead, fuse_activation, fuse_pad, read_part
from midge.passes.options import PassOptions
from midge.targets import core_board

_ANY_CORE = "cortex-m4"
"""The passes used here rewrite alike for every core."""


def prepare(graph: Graph) -> Graph:
    """The same network with every layer's rectifier and padding fused, and int8 weights of hybrid layers as float32."""
    graph = _without_hybrids(graph)
    board = core_board(_ANY_CORE)
    for module in (read_part, fuse_pad, fuse_activation, dead):
        graph = module.run(graph, board, PassOptions())
    return graph


def _without_hybrids(graph: Graph) -> Graph:
    """conv2d_hybrid → conv2d, whose weights are what its integers stand for."""
    if not any(isinstance(node.op, Conv2DHybrid) for node in graph.nodes):
        return graph
    builder = GraphBuilder.of(graph)
    for position, node in enumerate(builder.nodes):
        if isinstance(node.op, Conv2DHybrid):
            builder.nodes[position] = _as_float(builder, node, node.op)
    return builder.build()


def _as_float(builder: GraphBuilder, node: Node, op: Conv2DHybrid) -> Node:
    weights = builder.values[node.inputs[1] or ""]
    assert weights.data is not None and weights.type.quantization is not None
    scales = np.array(weights.type.quantization.scales, np.float32).reshape(-1, 1, 1, 1)
    real = (weights.data.astype(np.float32) * scales).astype(np.float32)
    name = builder.value(builder.unique(f"{weights.name}_real"), TensorType(DType.FLOAT32, real.shape), real)
    made = Conv2D(op.stride_h, op.stride_w, op.dilation_h, op.dilation_w, op.padding, op.activation, Rounding.DOUBLE)
    return replace(node, op=made, inputs=(node.inputs[0], name, *node.inputs[2:]))
