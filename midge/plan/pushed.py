"""Input that is pushed row by row: the caller holds one row, the network keeps what it still needs of it."""

from __future__ import annotations

from collections.abc import Mapping

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.kernels.base import Binding
from midge.ops.copy import Copy
from midge.ops.reshape import Reshape


def refuse_rows(graph: Graph) -> str | None:
    """None where the network can take its input by rows; else the reason why not."""
    if len(graph.inputs) != 1:
        return f"it has {len(graph.inputs)} inputs"
    (name,) = graph.inputs
    if graph.type(name).rows == 1:
        return "its input is a single row"
    return None if any(name in node.inputs for node in graph.nodes) else "its input is read by no operator"


def is_read_by_rows(graph: Graph, bindings: Mapping[str, Binding], name: str) -> bool:
    """True where one kernel alone reads an input, in step r its row r as the caller has it, and nothing else of it."""
    readers = [node for node in graph.nodes if name in node.inputs]
    if len(readers) != 1 or isinstance(readers[0].op, Reshape) or readers[0].inputs.count(name) != 1:
        return False
    binding, position = bindings[readers[0].name], readers[0].inputs.index(name)
    reads = binding.reads[position]
    if reads is None or not reads.layout.is_natural or reads.is_padded or reads.over_bytes or reads.flat:
        return False
    return [step.needs[position] for step in binding.steps] == [(row, row) for row in range(graph.type(name).rows)]


def with_copied_input(graph: Graph, name: str) -> Graph:
    """All readers of an input read a copy of it: the rows that the network keeps. Keeps exact bits."""
    builder = GraphBuilder.of(graph)
    copy = builder.value(builder.unique(f"{name}_rows"), builder.values[name].type)
    nodes = [
        Node(node.name, node.op, tuple(copy if operand == name else operand for operand in node.inputs), node.outputs)
        for node in graph.nodes
    ]
    builder.nodes = [Node(copy, Copy(), (name,), (copy,)), *nodes]
    builder.outputs = [copy if output == name else output for output in builder.outputs]
    return builder.build()
