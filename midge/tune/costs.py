"""What was measured for one network, as the costs that its plan is made by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from midge.ir.graph import Graph, Node
from midge.kernels.base import Kernel
from midge.ops.copy import Copy
from midge.plan.candidates import kind_of
from midge.plan.costs import Cost, Costs
from midge.tune.cache import Measurement
from midge.tune.trials import Trial

_FAILED = Cost(1e15, 0, 0)
"""Of a kernel that could not be built or run: anything else is taken before it."""


@dataclass(frozen=True, slots=True)
class MeasuredCosts(Costs):
    """Costs of a network's nodes by (node, kernel), and of copies by their type; others come from the shipped table."""

    nodes: Mapping[tuple[object, str], Cost]
    others: Costs | None

    def of(self, node: Node, graph: Graph, kernel: Kernel) -> Cost | None:
        found = self.nodes.get((_name(node, graph), kernel.name))
        if found is not None or self.others is None:
            return found
        return self.others.of(node, graph, kernel)


def measured_costs(found: list[Trial], results: Mapping[str, Measurement], others: Costs | None) -> MeasuredCosts:
    """Costs from the measurements of trials."""
    nodes: dict[tuple[object, str], Cost] = {}
    for trial in found:
        result = results[trial.key]
        cost = _FAILED if result.cycles is None else Cost(result.cycles, trial.weight_bytes, result.code_bytes)
        nodes[_name(trial.graph.nodes[0], trial.graph), trial.kernel.name] = cost
    return MeasuredCosts(nodes, others)


def _name(node: Node, graph: Graph) -> object:
    """Copies come and go while a plan is made: one stands for all of its type."""
    return kind_of(node, graph) if isinstance(node.op, Copy) else node.name
