"""Fold zero padding into the convolution that reads it.

    %p = pad %x ((0,0),(1,1),(1,1),(0,0))
    %y = conv2d %p padding 0          →          %y = conv2d %x padding 1

Keeps exact bits: the pad's fill is the zero point, which is what a convolution's own padding stands for.
"""

from __future__ import annotations

from dataclasses import replace

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ops.base import Padding
from midge.ops.conv2d import Conv2D
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.pad import Pad
from midge.passes.options import PassOptions
from midge.targets.records import Board


def refuse(graph: Graph, pad: Node, reader: Node) -> str | None:
    """None where the padding may move into its reader; else the reason why not."""
    if not isinstance(reader.op, Conv2D | DepthwiseConv2D | Conv2DHybrid):
        return f"{reader.name} is no convolution"
    if reader.inputs[0] != pad.outputs[0] or reader.inputs.count(pad.outputs[0]) != 1:
        return f"{reader.name} reads it as a weight"
    assert isinstance(pad.op, Pad)
    if len(pad.op.paddings) != 4 or any(pad.op.paddings[0]) or any(pad.op.paddings[3]):
        return "it pads more than height and width"
    return None


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """Each convolution that reads a pad reads the pad's operand instead; pads without readers go with `dead`."""
    del board
    builder = GraphBuilder.of(graph)
    pads = {node.outputs[0]: node for node in graph.nodes if isinstance(node.op, Pad)}
    for position, node in enumerate(graph.nodes):
        for name in {name for name in node.inputs if name in pads}:
            pad = pads[name or ""]
            reason = refuse(graph, pad, node)
            if reason is not None:
                options.refuse(f"fuse_pad: {pad.name} stays, {reason}")
                continue
            builder.nodes[position] = _fused(pad, node)
    return builder.build() if builder.nodes != list(graph.nodes) else graph


def _fused(pad: Node, reader: Node) -> Node:
    op = reader.op
    assert isinstance(pad.op, Pad) and isinstance(op, Conv2D | DepthwiseConv2D | Conv2DHybrid)
    (top, bottom), (left, right) = pad.op.paddings[1:3]
    own = op.padding
    padding = Padding(own.top + top, own.bottom + bottom, own.left + left, own.right + right)
    return Node(reader.name, replace(op, padding=padding), (pad.inputs[0], *reader.inputs[1:]), reader.outputs)
