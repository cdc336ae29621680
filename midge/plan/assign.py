"""Which kernel each node gets: the cheapest assignment, copies between layouts included.

Nodes are taken in execution order. A state says how each value that still has readers lies, and which copies of it
there are; of all ways into a state the cheapest is kept. On a chain this finds the optimum; where branches are so
wide that there are more states than `_MOST_STATES`, the cheapest of them go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from midge.ir.graph import Graph, Node
from midge.kernels.base import Binding, Layout
from midge.ops.reshape import Reshape
from midge.plan.candidates import Candidate, CopyCosts
from midge.plan.copies import root_value

_MOST_STATES = 400

Lies = tuple[Layout, frozenset[Layout]]
"""The layout that a value was written in, and those that it has been copied into."""
State = tuple[tuple[str, Lies], ...]
"""How each value that still has readers lies, sorted by name."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What memory counts as, in cycles for a byte."""

    flash: float
    ram: float


@dataclass(frozen=True, slots=True)
class Assignment:
    """A binding for each node. Cycles, flash and RAM are sums over layers and copies; the schedule is in none."""

    bindings: Mapping[str, Binding]
    cycles: float
    flash_bytes: float
    ring_bytes: float


@dataclass(frozen=True, slots=True)
class _Way:
    """The cheapest way into a state."""

    price: float
    cycles: float
    flash_bytes: float
    ring_bytes: float
    before: _Way | None
    node: str
    binding: Binding | None


def assign(graph: Graph, listed: Mapping[str, list[Candidate]], copies: CopyCosts, prices: Prices
           ) -> Assignment | None:  # fmt: skip
    """The assignment with the least cycles, memory counted by its prices; None where there is none."""
    search = _Search(graph, copies, prices)
    states: dict[State, _Way] = {search.start(): _Way(0, 0, 0, 0, None, "", None)}
    for position, node in enumerate(graph.nodes):
        if isinstance(node.op, Reshape):
            continue
        states = search.next(states, position, node, listed[node.name])
    way: _Way | None = min(states.values(), key=lambda way: way.price, default=None)
    if way is None:
        return None
    bindings: dict[str, Binding] = {}
    last = way
    while way is not None:
        if way.binding is not None:
            bindings[way.node] = way.binding
        way = way.before
    return Assignment(bindings, last.cycles, last.flash_bytes, last.ring_bytes)


class _Search:
    """What stays the same from node to node."""

    def __init__(self, graph: Graph, copies: CopyCosts, prices: Prices) -> None:
        self.graph, self.copies, self.prices = graph, copies, prices
        self.roots = {name: root_value(graph, name) for node in graph.nodes for name in node.inputs if name}
        self.outputs = {root_value(graph, name) for name in graph.outputs}
        self.flat = _flat_roots(graph)
        self.recut = _recut_roots(graph)
        self.last = {self.roots[name]: i for i, node in enumerate(graph.nodes) for name in node.inputs if name}

    def start(self) -> State:
        read = (name for name in sorted(self.graph.inputs) if name in self.last)
        return tuple((name, (self._natural(name), frozenset())) for name in read)

    def next(self, states: Mapping[State, _Way], position: int, node: Node, listed: list[Candidate]
             ) -> dict[State, _Way]:  # fmt: skip
        """All states after a node, the cheapest ways into them."""
        found: dict[State, _Way] = {}
        for state, way in states.items():
            for candidate in listed:
                step = self._step(dict(state), node, candidate)
                if step is None:
                    continue
                values, cycles, flash_bytes = step
                price = way.price + cycles + self.prices.flash * flash_bytes + self.prices.ram * candidate.ring_bytes
                alive = tuple(sorted((name, lies) for name, lies in values.items() if self.last[name] > position))
                if alive not in found or price < found[alive].price:
                    sums = (way.cycles + cycles, way.flash_bytes + flash_bytes, way.ring_bytes + candidate.ring_bytes)
                    found[alive] = _Way(price, *sums, way, node.name, candidate.binding)
        best = sorted(found.items(), key=lambda item: item[1].price)
        return dict(best[:_MOST_STATES])

    def _step(self, values: dict[str, Lies], node: Node, candidate: Candidate
              ) -> tuple[dict[str, Lies], float, float] | None:  # fmt: skip
        """Values after the node, and what it and the copies before it cost; None where a copy can't be made."""
        cycles, flash_bytes = candidate.cycles, candidate.flash_bytes
        for name, reads in zip(node.inputs, candidate.binding.reads, strict=True):
            if name is None or reads is None:
                continue
            root = self.roots[name]
            written, copied = values.get(root, (self._natural(root), frozenset()))
            if reads.layout in copied or (written == reads.layout and not (reads.is_padded and root in self.flat)):
                continue
            cost = self.copies.of(self.graph.type(name), written, reads.layout)
            if cost is None:
                return None
            cycles, flash_bytes = cycles + cost.cycles, flash_bytes + cost.code_bytes
            values[root] = (written, copied | {reads.layout})
        for name, layout in zip(node.outputs, candidate.binding.writes, strict=True):
            if not layout.is_natural and name in self.recut and (layout.planes or self.recut[name]):
                return None
            if name in self.outputs and not layout.is_natural:
                cost = self.copies.of(self.graph.type(name), layout, self._natural(name))
                if cost is None:
                    return None
                cycles, flash_bytes = cycles + cost.cycles, flash_bytes + cost.code_bytes
            if name in self.last:
                values[name] = (layout, frozenset())
        return values, cycles, flash_bytes

    def _natural(self, name: str) -> Layout:
        return Layout(self.graph.type(name).dtype)


def _flat_roots(graph: Graph) -> frozenset[str]:
    """Values that lie flat whatever kernels read them: round these there is no padding."""
    flat = {root_value(graph, name) for name in (*graph.inputs, *graph.outputs)}
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            source, view = graph.type(root_value(graph, node.outputs[0])), graph.type(node.outputs[0])
            if (source.rows, source.row_elements, source.channels) != (view.rows, view.row_elements, view.channels):
                flat.add(root_value(graph, node.outputs[0]))
    return frozenset(flat)


def _recut_roots(graph: Graph) -> dict[str, bool]:
    """Values that a reshape sees with other rows (True), or with other pixels in the same rows (False).

    Other layouts than the natural one fill rows up to whole words, or put channels apart: seen so, they would be wrong.
    """
    found: dict[str, bool] = {}
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            root = root_value(graph, node.outputs[0])
            source, view = graph.type(root), graph.type(node.outputs[0])
            if (source.rows, source.row_elements) != (view.rows, view.row_elements):
                found[root] = True
            elif source.channels != view.channels:
                found.setdefault(root, False)
    return found
