"""Which concatenations and slices are left out: all that can be, but where that takes more RAM than it is worth.

A part of a concatenation lies in rows as wide as the whole: where it waits long for its neighbours, in a U-shaped
network say, the ring for it is wider than its own would be. And who waits for one slice keeps the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from midge.ir.graph import Graph
from midge.kernels.base import Binding
from midge.plan.candidates import node_costs
from midge.plan.costs import Costs
from midge.plan.rings import Ordered, best_order, can_be_whole, improved, names_of, ordered
from midge.plan.score import BESIDE_BYTES
from midge.plan.storage import Network, build_network
from midge.targets.records import Core

_MOST_TRIED = 40


@dataclass(frozen=True, slots=True)
class Moves:
    """A graph whose concatenations and slices cost so many cycles each where they are not left out."""

    graph: Graph
    bindings: Mapping[str, Binding]
    pushed: Sequence[str]
    cycles: Mapping[str, float]

    def network(self, kept: frozenset[str]) -> Network:
        return build_network(self.graph, self.bindings, self.pushed, kept=kept)


def moves_of(graph: Graph, bindings: Mapping[str, Binding], pushed: Sequence[str], core: Core, costs: Costs) -> Moves:
    """The graph with what its moves would cost."""
    network = build_network(graph, bindings, pushed)
    left_out = [node for node in graph.nodes if node.name in network.views.left_out]
    cycles = {
        node.name: node_costs(node, graph, core, costs)[bindings[node.name].kernel.name][1].cycles for node in left_out
    }
    return Moves(graph, bindings, pushed, cycles)


def settled(moves: Moves, first: Ordered | None, worth: Callable[[int, float], tuple[float, float]]
            ) -> tuple[Network, Ordered]:  # fmt: skip
    """The network with the best choice of moves, and its schedule; `first` is one with all left out that can be.

    `worth` says what a plan is worth by its peak in bytes and the cycles of the moves that it makes; less is better.
    """
    network = moves.network(frozenset())
    best = first or best_order(network)
    if not moves.cycles:
        return network, best
    kept = frozenset(moves.cycles)
    fewer = moves.network(kept)
    found = _ordered_like(fewer, network, best)
    if best.peak_bytes <= found.peak_bytes:
        return network, best
    for name in list(moves.cycles)[:_MOST_TRIED]:
        other = moves.network(kept - {name})
        tried = _ordered_like(other, fewer, found)
        if _price(moves, tried, kept - {name}, worth) < _price(moves, found, kept, worth):
            kept, fewer, found = kept - {name}, other, tried
    if _price(moves, found, kept, worth) < _price(moves, best, frozenset(), worth):
        return fewer, found
    return network, best


def _price(moves: Moves, found: Ordered, kept: frozenset[str], worth: Callable[[int, float], tuple[float, float]]
           ) -> tuple[float, float]:  # fmt: skip
    return worth(found.peak_bytes, sum(moves.cycles[name] for name in kept))


def _ordered_like(network: Network, other: Network, found: Ordered) -> Ordered:
    """A good schedule of a network that differs a little from another one."""
    every = can_be_whole(network)
    names = names_of(other, found.whole)
    start = ordered(network, frozenset(index for index in every if network.tensors[index].name in names))
    return improved(network, start, every, lambda one: one.price, len(every))


def price_of_moves(room_bytes: int, cycles: float, ram_worth: float) -> Callable[[int, float], tuple[float, float]]:
    """What is over the room, then RAM against cycles; `cycles` are those of all else."""

    def worth(peak_bytes: int, moved: float) -> tuple[float, float]:
        ram = ram_worth * math.log(peak_bytes + BESIDE_BYTES)
        return max(0, peak_bytes - room_bytes), ram + math.log(cycles + moved)

    return worth
