"""Remove what nobody reads.

    %a = relu %x          (nobody reads %a)      →      nothing

Keeps exact bits.
"""

from __future__ import annotations

from midge.ir.graph import Graph, GraphBuilder
from midge.passes.options import PassOptions
from midge.targets.records import Board


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """The graph without nodes and constants that no output and no state depends on."""
    del board, options
    needed = set(graph.sinks)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(name for name in node.inputs if name is not None)
    needed.update(graph.sources)
    needed.update(name for node in kept for name in node.outputs)
    if len(kept) == len(graph.nodes) and len(needed) == len(graph.values):
        return graph
    builder = GraphBuilder.of(graph)
    builder.nodes = kept[::-1]
    builder.values = {name: value for name, value in graph.values.items() if name in needed}
    return builder.build()
