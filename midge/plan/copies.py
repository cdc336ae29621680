"""Copies that make every value's storage possible: who needs its tensor unpadded, who wants padding round it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.kernels.base import Binding, Layout
from midge.ops.copy import Copy
from midge.ops.reshape import Reshape


def insert_copies(graph: Graph, bindings: Mapping[str, Binding]) -> Graph:
    """Give readers that want a value otherwise than it lies a copy of their own, and outputs that are no node's result
    a node.

    A value is flat where its rows must lie side by side: a graph input or output, a state, one that a kernel reads as
    one array, or one that a reshape sees with other rows (or with other pixels, where there is padding). Readers that
    want padding round a flat value, or another layout than its producer writes, read a copy. Keeps exact bits; returns
    the graph itself where no copy is needed.
    """
    flat = flat_values(graph, bindings)
    layouts = _written_layouts(graph, bindings)
    builder = GraphBuilder.of(graph)
    nodes: list[Node] = []
    copies: dict[tuple[str, Layout], str] = {}
    for node in graph.nodes:
        nodes.extend(_copy_operands(builder, node, bindings.get(node.name), flat, layouts, copies))
    for position, name in enumerate(graph.outputs):
        root = root_value(graph, name)
        is_elsewhere = root in layouts and not layouts[root].is_natural
        if root in graph.sources or graph.values[name].is_constant or is_elsewhere:
            builder.outputs[position] = _copy(builder, nodes, name)
    for position, state in enumerate(graph.states):
        root = root_value(graph, state.after)
        if root in graph.sources or (root in layouts and not layouts[root].is_natural):
            builder.states[position] = replace(state, after=_copy(builder, nodes, state.after))
    if len(nodes) == len(graph.nodes):
        return graph
    builder.nodes = nodes
    return builder.build()


def _written_layouts(graph: Graph, bindings: Mapping[str, Binding]) -> dict[str, Layout]:
    """The layout of each value that a kernel writes."""
    return {
        name: layout
        for node in graph.nodes
        if node.name in bindings
        for name, layout in zip(node.outputs, bindings[node.name].writes, strict=True)
    }


def flat_values(graph: Graph, bindings: Mapping[str, Binding]) -> frozenset[str]:
    """Roots of the values whose rows must lie side by side, whole, without padding."""
    flat = {root_value(graph, name) for name in (*graph.sources, *graph.sinks)}
    padded: set[str] = set()
    for node in graph.nodes:
        reads = bindings[node.name].reads if node.name in bindings else ()
        operands = [(root_value(graph, n), read) for n, read in zip(node.inputs, reads, strict=False) if n and read]
        flat |= {root for root, read in operands if read.flat}
        padded |= {root for root, read in operands if read.is_padded}
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            root = root_value(graph, node.outputs[0])
            source, view = graph.type(root), graph.type(node.outputs[0])
            other_rows = (source.rows, source.row_elements) != (view.rows, view.row_elements)
            other_pixels = root in padded and source.channels != view.channels
            if other_rows or other_pixels:
                flat.add(root)
    return frozenset(flat)


def root_value(graph: Graph | GraphBuilder, name: str) -> str:
    """The value that a chain of reshapes starts from."""
    views = _views(graph) if isinstance(graph, Graph) else _views_among(graph.nodes)
    while name in views:
        name = views[name]
    return name


@lru_cache(maxsize=8)
def _views(graph: Graph) -> Mapping[str, str]:
    return _views_among(graph.nodes)


def _views_among(nodes: Iterable[Node]) -> dict[str, str]:
    """What each reshape sees otherwise, by the name of its result."""
    return {node.outputs[0]: node.inputs[0] or "" for node in nodes if isinstance(node.op, Reshape)}


def _copy_operands(builder: GraphBuilder, node: Node, binding: Binding | None, flat: frozenset[str],
                   layouts: Mapping[str, Layout], copies: dict[tuple[str, Layout], str]) -> list[Node]:  # fmt: skip
    """The node, after the copies of operands that do not lie as it wants them."""
    if binding is None:
        return [node]
    made: list[Node] = []
    operands = list(node.inputs)
    for index, (name, reads) in enumerate(zip(node.inputs, binding.reads, strict=True)):
        if name is None or reads is None:
            continue
        root = root_value(builder, name)
        written = layouts.get(root, Layout(builder.values[root].type.dtype))
        if written == reads.layout and not (reads.is_padded and root in flat):
            continue
        if (name, reads.layout) not in copies:
            copies[name, reads.layout] = _copy(builder, made, name)
        operands[index] = copies[name, reads.layout]
    return [*made, Node(node.name, node.op, tuple(operands), node.outputs)]


def _copy(builder: GraphBuilder, nodes: list[Node], name: str) -> str:
    copy = builder.value(builder.unique(f"{name}_copy"), builder.values[name].type)
    nodes.append(Node(copy, Copy(), (name,), (copy,)))
    return copy
