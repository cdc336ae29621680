"""A bound that no plan of a network goes below, whatever kernels, layouts, order of rows and places it chooses.

While a step runs, the rows that it reads, those that it makes and its working memory are all there. So no plan takes
less than the least, over a node's kernels, of the most that one of their steps needs; and that of the node which needs
most bounds the plan. What other nodes hold at that moment is not in it.
"""

from __future__ import annotations

from collections.abc import Collection

from midge.ir.graph import Graph, Node
from midge.kernels.base import Binding, Step
from midge.ops.reshape import Reshape
from midge.plan.candidates import legal_kernels
from midge.targets.records import Core


def least_bytes(graph: Graph, core: Core, pushed: Collection[str]) -> int:
    """Bytes that every plan of a graph (after passes, before copies) takes at one moment; `pushed` inputs take none."""
    most = 0
    for node in graph.nodes:
        if not isinstance(node.op, Reshape):
            bindings = [kernel.bind(node, graph) for kernel, _, _ in legal_kernels(node, graph, core)]
            needed = (
                max((_step_bytes(node, graph, binding, step, pushed) for step in binding.steps), default=0)
                for binding in bindings
            )
            most = max(most, min(needed, default=0))
    return most


def _step_bytes(node: Node, graph: Graph, binding: Binding, step: Step, pushed: Collection[str]) -> int:
    """Rows that the step reads and makes (none of its own where a result may overwrite an operand), and scratch."""
    rows_of: dict[str, int] = {}
    for name, reads, needs in zip(node.inputs, binding.reads, step.needs, strict=True):
        if name is None or reads is None or needs is None or name in pushed or graph.values[name].is_constant:
            continue
        type_ = graph.type(name)
        pixels = (type_.columns + reads.left + reads.right) * (needs[1] - needs[0] + 1)
        rows_of[name] = max(rows_of.get(name, 0), pixels * type_.channels * reads.layout.dtype.bytes)
    total = sum(rows_of.values()) + binding.scratch_bytes
    if binding.in_place:
        return total
    for name, layout in zip(node.outputs, binding.writes, strict=True):
        type_ = graph.type(name)
        total += min(step.makes, type_.rows) * type_.row_elements * layout.dtype.bytes
    return total
