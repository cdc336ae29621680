"""The search for a plan with less RAM: other kernels, and with them other layouts, for single nodes.

The fastest kernels want widened rows and rows in planes; some of their rings are twice as large as natural ones, and
where the image has become small a whole tensor between two stages may be cheaper than the rings of both. Which of this
pays shows only in the whole schedule. So: begin with the fast plan, and make the change that takes most RAM away, again
and again, within the cycles allowed (or until a budget is met).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from midge.ir.graph import Graph, Node
from midge.kernels.base import Binding, Kernel
from midge.plan.order import Span
from midge.plan.rings import Ordered, best_order, can_be_whole, improved, memory_requests, names_of, ordered
from midge.plan.storage import Network, build_network

MOST_SLOWER = 1.08
"""Cycles that the plan with the least RAM may take, as a part of the fast plan's: `--optimize ram` promises 10 % on
the board, and estimates err."""
_MOST_ROUNDS = 40
_MOST_TOGGLES = 6
_NEXT_TO_NOTHING = 0.002

Bind = Callable[[Mapping[str, Kernel]], tuple[Graph, dict[str, Binding]]]
"""Kernels and copies for the whole graph, where some nodes have a kernel already."""
Cycles = Callable[[Node, Graph, Kernel], float]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A plan but for its offsets: kernels of the nodes that were changed, what follows from them, and what it costs."""

    pins: Mapping[str, Kernel]
    graph: Graph
    network: Network
    found: Ordered
    cycles: float
    pushed: tuple[str, ...]

    @property
    def whole_names(self) -> frozenset[str]:
        return names_of(self.network, self.found.whole)


class MemorySearch:
    """Plans of one graph. `pushed`: the input comes by rows."""

    def __init__(
        self, bind: Bind, cycles: Cycles, choices: Mapping[str, list[Kernel]], pushed: tuple[str, ...]
    ) -> None:
        self.bind = bind
        self.cycles = cycles
        self.choices = choices
        self.pushed = pushed

    def first(self, pins: Mapping[str, Kernel]) -> Trial:
        """The plan with these kernels and the best choice of whole tensors."""
        graph, network, cycles = self._built(pins)
        return Trial(pins, graph, network, best_order(network), cycles, self.pushed)

    def least(self, start: Trial, most_cycles: float, enough_bytes: int = 0) -> Trial:
        """The plan with the least RAM that was found within the cycles, or the first that needs no more than enough."""
        best = now = start
        for _ in range(_MOST_ROUNDS):
            if best.found.peak_bytes <= enough_bytes:
                break
            tried = [trial for trial in self._neighbours(now) if trial.cycles <= most_cycles]
            better = max(tried, key=lambda trial: _worth(now, trial), default=now)
            if _worth(now, better) <= 0:
                break
            now = self._settled(better)
            best = min(best, now, key=lambda trial: (trial.found.peak_bytes, trial.cycles))
        return best

    def _built(self, pins: Mapping[str, Kernel]) -> tuple[Graph, Network, float]:
        graph, bindings = self.bind(pins)
        cycles = sum(
            self.cycles(node, graph, bindings[node.name].kernel) for node in graph.nodes if node.name in bindings
        )
        return graph, build_network(graph, bindings, pushed=self.pushed), cycles

    def _neighbours(self, now: Trial) -> Iterator[Trial]:
        """Plans with another kernel for one node that has to do with the fullest moments, each roughly ordered."""
        network = now.network
        kernels = {node.name: binding.kernel for node, binding in zip(network.nodes, network.bindings, strict=True)}
        for name in _crowded_nodes(now):
            for kernel in self.choices.get(name, ()):
                if kernel is not kernels[name]:
                    yield self._changed(now, name, kernel)

    def _changed(self, now: Trial, name: str, kernel: Kernel) -> Trial:
        pins = {**now.pins, name: kernel}
        graph, network, cycles = self._built(pins)
        found = ordered(network, _indices(network, now.whole_names))
        near = [index for index in can_be_whole(network) if _is_near(network, index, name)]
        found = improved(network, found, near[:_MOST_TOGGLES], lambda one: (one.crowding,), _MOST_TOGGLES)
        return Trial(pins, graph, network, found, cycles, self.pushed)

    def _settled(self, trial: Trial) -> Trial:
        """The same kernels with a better choice of whole tensors."""
        found = improved(
            trial.network, trial.found, can_be_whole(trial.network), lambda one: (one.crowding,), _MOST_SETTLING
        )
        return replace(trial, found=found)


_MOST_SETTLING = 120


def _worth(now: Trial, trial: Trial) -> float:
    """Bytes less for a cycle more; changes that cost next to nothing count as if they cost a little."""
    less = now.found.crowding - trial.found.crowding
    return less / max(trial.cycles - now.cycles, _NEXT_TO_NOTHING * now.cycles)


def _indices(network: Network, names: frozenset[str]) -> frozenset[int]:
    return frozenset(index for index in can_be_whole(network) if network.tensors[index].name in names)


def _is_near(network: Network, tensor: int, name: str) -> bool:
    """True for what a node makes or reads, and for a copy of it."""
    record = network.tensors[tensor]
    tasks = [reader.task for reader in record.readers]
    tasks += [] if record.producer is None else [record.producer]
    return any(network.nodes[task].name == name for task in tasks)


def _crowded_nodes(trial: Trial) -> list[str]:
    """Nodes that make, read or work in memory that is alive when most of it is."""
    network, order = trial.network, trial.found.order
    peak = _peak_action(trial)

    def is_alive(spans: Sequence[Span]) -> bool:
        return any(first <= peak <= last for first, last in spans)

    tasks: set[int] = set()
    for storage, life in zip(network.storages, order.lives, strict=True):
        if is_alive(life.spans):
            for tensor in storage.tensors:
                record = network.tensors[tensor]
                tasks |= {reader.task for reader in record.readers}
                tasks |= set() if record.producer is None else {record.producer}
    tasks |= {task for task, spans in enumerate(order.scratch) if is_alive(spans)}
    return [network.nodes[task].name for task in sorted(tasks)]


def _peak_action(trial: Trial) -> int:
    """The action at which most bytes are alive."""
    changes: dict[int, int] = {}
    for request in memory_requests(trial.network, trial.found.order):
        for first, last in request.spans:
            changes[first] = changes.get(first, 0) + request.bytes
            changes[last + 1] = changes.get(last + 1, 0) - request.bytes
    alive, most, at = 0, -1, 0
    for action in sorted(changes):
        alive += changes[action]
        if alive > most:
            most, at = alive, action
    return at
