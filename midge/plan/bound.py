"""A bound that no plan of a network goes below, whatever kernels, layouts, order of rows and places it chooses.

Three moments are looked at. While a step runs, the rows that it reads, those that it makes, its working memory and what
states hold are all there: no plan takes less than the least of that over a node's kernels, for the node that needs
most. Before the first step, inputs that are written as a whole are there; after the last one all outputs are. What else
nodes hold while others work is not in it.

Values that may lie in one memory count once: those that reshapes, concatenations and slices make of each other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from midge.ir.graph import Graph, Node
from midge.kernels.base import Binding, Step
from midge.ops.concatenation import Concatenation
from midge.ops.rearrange import Rearrange
from midge.ops.reshape import Reshape
from midge.plan.candidates import legal_kernels
from midge.targets.records import Core


def least_bytes(graph: Graph, core: Core, pushed: Collection[str]) -> int:
    """Bytes that every plan of a graph (after passes, before copies) takes at one moment; `pushed` inputs take none."""
    families = _families(graph)
    states = {state.before: graph.type(state.before).bytes for state in graph.states}
    written = {name: graph.type(name).bytes for name in graph.inputs if name not in pushed}
    made = {name for node in graph.nodes if not isinstance(node.op, _VIEWS) for name in node.outputs}
    read = {name: graph.type(name).bytes for name in graph.outputs if name in made}
    most = max(_apart({**states, **written}, families), _apart({**states, **read}, families))
    for node in graph.nodes:
        if not isinstance(node.op, _VIEWS):
            bindings = [kernel.bind(node, graph) for kernel, _, _ in legal_kernels(node, graph, core)]
            needed = (
                max((_step_bytes(node, graph, binding, step, pushed, states, families) for step in binding.steps),
                    default=0)
                for binding in bindings
            )  # fmt: skip
            most = max(most, min(needed, default=0))
    return most


_VIEWS = (Reshape, Concatenation, Rearrange)
"""Operators whose results may need no memory of their own."""


def _families(graph: Graph) -> dict[str, str]:
    """For each value one name that all those share which may lie in its memory, or it in theirs."""
    found: dict[str, str] = {}

    def first(name: str) -> str:
        while name in found:
            name = found[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, _VIEWS):
            for name in node.inputs:
                if name is not None and (a := first(name)) != (b := first(node.outputs[0])):
                    found[a] = b
    return {name: first(name) for name in graph.values}


def _apart(sizes: Mapping[str, int], families: Mapping[str, str]) -> int:
    """Bytes of values, of each family the largest alone."""
    largest: dict[str, int] = {}
    for name, size in sizes.items():
        largest[families[name]] = max(largest.get(families[name], 0), size)
    return sum(largest.values())


def _step_bytes(node: Node, graph: Graph, binding: Binding, step: Step, pushed: Collection[str],
                states: Mapping[str, int], families: Mapping[str, str]) -> int:  # fmt: skip
    """Rows that the step reads and makes (none of its own where a result may overwrite an operand), scratch, states."""
    sizes: dict[str, int] = {}
    for name, reads, needs in zip(node.inputs, binding.reads, step.needs, strict=True):
        if name is None or reads is None or needs is None or name in pushed or graph.values[name].is_constant:
            continue
        type_ = graph.type(name)
        pixels = (type_.columns + reads.left + reads.right) * (needs[1] - needs[0] + 1)
        sizes[name] = max(sizes.get(name, 0), pixels * type_.channels * reads.layout.dtype.bytes)
    for name, size in states.items():
        sizes[name] = max(sizes.get(name, 0), size)
    total = _apart(sizes, families) + binding.scratch_bytes
    if binding.in_place:
        return total
    for name, layout in zip(node.outputs, binding.writes, strict=True):
        type_ = graph.type(name)
        total += min(step.makes, type_.rows) * type_.row_elements * layout.dtype.bytes
    return total
