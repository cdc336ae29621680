"""Fold a stand-alone rectifier into the operator that makes its operand.

    %a = conv2d %x activation none
    %y = relu %a                      →          %y = conv2d %x activation relu

Keeps exact bits: legal only where the rectifier is a pure clamp (float32, or the same scale and zero point on both
sides) and nobody else reads the value between.
"""

from __future__ import annotations

from dataclasses import replace

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ops.base import Activation
from midge.ops.concatenation import Concatenation
from midge.ops.relu import Relu
from midge.passes.options import PassOptions
from midge.targets.records import Board


def refuse(graph: Graph, node: Node) -> str | None:
    """None where the rectifier may move into its operand's producer; else the reason why not."""
    source = node.inputs[0] or ""
    producer = graph.producer(source)
    if producer is None:
        return "its operand is an input"
    if isinstance(producer.op, Relu | Concatenation) or getattr(producer.op, "activation", None) is not Activation.NONE:
        return f"{producer.name} takes no activation"
    if len(graph.consumers(source)) != 1 or source in graph.sinks:
        return f"{source} is read elsewhere"
    if graph.type(source) != graph.type(node.outputs[0]):
        return "it changes the scale"
    return None


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """The graph with each legal rectifier fused."""
    del board
    for node in [node for node in graph.nodes if isinstance(node.op, Relu)]:
        reason = refuse(graph, node)
        if reason is not None:
            options.refuse(f"fuse_activation: {node.name} stays, {reason}")
            continue
        graph = _fuse(graph, node)
    return graph


def _fuse(graph: Graph, node: Node) -> Graph:
    assert isinstance(node.op, Relu)
    producer = graph.producer(node.inputs[0] or "")
    assert producer is not None
    op = replace(producer.op, activation=node.op.activation)  # type: ignore[call-arg]
    builder = GraphBuilder.of(graph)
    builder.nodes = [
        Node(other.name, op, other.inputs, node.outputs) if other is producer else other
        for other in graph.nodes
        if other is not node
    ]
    del builder.values[node.inputs[0] or ""]
    return builder.build()
