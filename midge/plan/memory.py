"""The search for a plan with less RAM: other kernels, and with them other layouts.

The fastest kernels want widened rows, rows in planes and working memory. What that takes together shows only in the
schedule, but nearly all of it is a sum over edges (most rings are alive all the time), and of working memory the most
that one layer has. So kernels are assigned (`assign.py`) at many prices of a byte of rings, and under several limits of
working memory; the assignments are scheduled, and the best one is improved at its fullest moment and where its
cycles go: one node gets another kernel, and the others are assigned anew around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from midge.ir.graph import Graph, Node
from midge.kernels.base import Binding, Kernel
from midge.plan.assign import Prices, assign
from midge.plan.candidates import Candidate, CopyCosts, candidates, node_costs
from midge.plan.costs import Cost, Costs
from midge.plan.order import Span
from midge.plan.rings import Ordered, can_be_whole, improved, memory_requests, names_of, ordered
from midge.plan.score import FLASH_WORTH, Judge, Score
from midge.plan.storage import Network, build_network
from midge.targets.records import Core

_RING_PRICES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.7, 1.2, 2.4, 4.8, 100.0)
"""Of a hundredth more rings, in hundredths of the cycles."""
_SCRATCH_PARTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, math.inf)
"""Limits of working memory, as parts of the rings of the smallest assignment."""
_MOST_STARTS = 2
_FULL = 0.95
"""Of the peak: from there on a byte costs all that it costs at the peak."""
_RELAXED = ((0.9, 0.5), (0.7, 0.2), (0.5, 0.0))
"""(of the peak, price of a byte where no more was alive): between the two prices rise."""
_MOST_ROUNDS = 4
_MOST_MERGES = 12
_MOST_CHANGES, _TRIED_AT_ONCE = 20, 20

Bind = Callable[[Mapping[str, Kernel]], tuple[Graph, dict[str, Binding]]]
"""Copies for a graph whose nodes all have a kernel, and theirs."""
Change = tuple[str, Candidate]
"""A node's name and the kernel that it gets."""


@dataclass(frozen=True, slots=True, eq=False)
class Assigned:
    """Kernels for all nodes: those in `pins`, and the cheapest ones around them at these prices."""

    pins: Mapping[str, Candidate]
    prices: Prices
    most_scratch_bytes: float
    weights: Mapping[str, float]
    """What a byte counts for at a node; 1 at those that are not named."""
    without: frozenset[Hashable]
    """Code that no node may have."""
    kernels: Mapping[str, Kernel]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A plan but for its offsets, and what it costs."""

    assigned: Assigned
    graph: Graph
    network: Network
    found: Ordered
    cycles: float
    flash_bytes: float


class MemorySearch:
    """Plans of one graph, whose nodes in `pinned` have their kernel. `pushed`: inputs that come by rows."""

    def __init__(self, graph: Graph, core: Core, costs: Costs, bind: Bind, pinned: Mapping[str, Kernel],
                 pushed: tuple[str, ...], judge: Judge, *, shares_code: bool) -> None:  # fmt: skip
        self.graph, self.core, self.costs, self.bind, self.pushed, self.judge = graph, core, costs, bind, pushed, judge
        self.copies = CopyCosts(core, costs)
        found = candidates(graph, core, costs, shares_code=shares_code)
        for node in graph.nodes:
            if node.name in pinned:
                found[node.name] = [Candidate(pinned[node.name].bind(node, graph), 1, 1, 0)]
        self.listed = {name: _worthwhile(own) for name, own in found.items()}
        self._copies_of: dict[str, Cost] = {}
        self._built: dict[tuple[tuple[str, str], ...], tuple[Graph, Network, float, float]] = {}

    def run(self) -> Trial | None:
        """The best plan found; None where no copies reconcile the kernels' layouts."""
        trials = sorted((self._roughly(assigned) for assigned in self._assignments()), key=self.score)
        if not trials:
            return None
        starts = (self._merged(self._relaxed(trial)) for trial in trials[:_MOST_STARTS])
        return min((self._climbed(start) for start in starts), key=self.score)

    def _climbed(self, best: Trial) -> Trial:
        """The plan after changes of single nodes, as long as one helps."""
        for _ in range(_MOST_ROUNDS):
            better = self._better(best)
            if better is None:
                break
            best = min(better, self._settled(better), key=self.score)
        return best

    def score(self, trial: Trial) -> Score:
        """Of a plan: less is better."""
        return self.judge(trial.found.peak_bytes, trial.cycles, trial.flash_bytes)

    def _assignments(self) -> Iterator[Assigned]:
        """Different ones, from the fastest to the smallest."""
        sums = assign(self.graph, self.listed, self.copies, Prices(0, 0))
        small = assign(self.graph, self._limited({}, 0, {}, frozenset()), self.copies, Prices(0, 1e6))
        if sums is None:
            return
        least = sums.ring_bytes if small is None else small.ring_bytes
        flash = FLASH_WORTH * sums.cycles / max(sums.flash_bytes, 1)
        seen: set[tuple[tuple[str, str], ...]] = set()
        for part in _SCRATCH_PARTS:
            for price in _RING_PRICES:
                prices = Prices(flash, price * sums.cycles / max(least, 1))
                found = self._assign({}, prices, part * least if part else 0, {}, frozenset())
                if found is not None and (key := _key(found.kernels)) not in seen:
                    seen.add(key)
                    yield found

    def _limited(self, pins: Mapping[str, Candidate], most_scratch_bytes: float, weights: Mapping[str, float],
                 without: frozenset[Hashable]) -> dict[str, list[Candidate]]:  # fmt: skip
        """Candidates within the limit; those with the least working memory where there are none.

        `weights`: what a byte of a node's rows counts for; where that is less than all, working memory has no limit.
        """
        found = {}
        for name, every in self.listed.items():
            own = [one for one in every if one.code not in without] or every
            weight = weights.get(name, 1.0)
            limit = max(min((one.binding.scratch_bytes for one in own), default=0), most_scratch_bytes)
            within = [one for one in own if weight < 1 or one.binding.scratch_bytes <= limit]
            listed = [pins[name]] if name in pins else within
            found[name] = [replace(one, ring_bytes=round(one.ring_bytes * weight)) for one in listed]
        return found

    def _assign(self, pins: Mapping[str, Candidate], prices: Prices, most_scratch_bytes: float,
                weights: Mapping[str, float], without: frozenset[Hashable]) -> Assigned | None:  # fmt: skip
        listed = self._limited(pins, most_scratch_bytes, weights, without)
        found = assign(self.graph, listed, self.copies, prices)
        if found is None:
            return None
        kernels = {name: binding.kernel for name, binding in found.bindings.items()}
        return Assigned(pins, prices, most_scratch_bytes, weights, without, kernels)

    def _relaxed(self, trial: Trial) -> Trial:
        """The best of plans in which rows and working memory cost less where there is room for them."""
        fullness, before, best = _fullness(trial), trial.assigned, trial
        for empty, least in _RELAXED:
            rise = (1 - least) / (_FULL - empty)
            weights = {
                name: min(1.0, max(least, least + (full - empty) * rise)) for name, full in fullness.items()
            }  # fmt: skip
            found = self._assign(before.pins, before.prices, before.most_scratch_bytes, weights, before.without)
            if found is not None and found.kernels != best.assigned.kernels:
                best = min(best, self._roughly(found, trial), key=self.score)
        return self._settled(best)

    def _roughly(self, assigned: Assigned, near: Trial | None = None) -> Trial:
        """Scheduled: with the whole tensors of a plan near by, or with some choices of them."""
        graph, network, cycles, flash_bytes = self._network(assigned.kernels)
        every = can_be_whole(network)
        if near is None:
            starts = [frozenset(every[cut:]) for cut in range(0, len(every) + 1, max(1, len(every) // 6))]
        else:
            names = names_of(near.network, near.found.whole)
            starts = [frozenset(index for index in every if network.tensors[index].name in names)]
        found = min((ordered(network, whole) for whole in starts), key=lambda one: one.price)
        if near is None:
            found = improved(network, found, every, lambda one: (one.crowding,), len(every))
        return Trial(assigned, graph, network, found, cycles, flash_bytes)

    def _settled(self, trial: Trial) -> Trial:
        """The same kernels with a better choice of whole tensors."""
        every = can_be_whole(trial.network)
        found = improved(trial.network, trial.found, every, lambda one: (one.crowding,), 2 * len(every))
        return replace(trial, found=min(trial.found, found, key=lambda one: one.price))

    def _better(self, now: Trial) -> Trial | None:
        """The best of the changes that promise most, among the first of which one helps; None where none does."""
        changes = self._changes(now)
        for first in range(0, len(changes), _TRIED_AT_ONCE):
            tried = [self._changed(now, change) for change in changes[first : first + _TRIED_AT_ONCE]]
            best = min((trial for trial in tried if trial is not None), key=self.score, default=now)
            if self.score(best) < self.score(now):
                return best
        return None

    def _changed(self, now: Trial, change: Change) -> Trial | None:
        name, candidate = change
        before = now.assigned
        pins = {**before.pins, name: candidate}
        found = self._assign(pins, before.prices, before.most_scratch_bytes, before.weights, before.without)
        return None if found is None else self._roughly(found, now)

    def _merged(self, now: Trial) -> Trial:
        """The plan without code that it is better without: few layers have it, and others' would do for them."""
        for _ in range(_MOST_MERGES):
            kernels = now.assigned.kernels
            codes = dict.fromkeys(self._candidate(name, kernels).code for name in kernels)
            tried = [trial for code in codes if (trial := self._without(now, code)) is not None]
            best = min(tried, key=self.score, default=now)
            if not self.score(best) < self.score(now):
                break
            now = best
        return now

    def _without(self, now: Trial, code: Hashable) -> Trial | None:
        """The kernels around which there is no such code; None where a node has no other."""
        before = now.assigned
        without = before.without | {code}
        pins = {name: one for name, one in before.pins.items() if one.code != code}
        found = self._assign(pins, before.prices, before.most_scratch_bytes, before.weights, without)
        if found is None or any(self._candidate(name, found.kernels).code == code for name in found.kernels):
            return None
        return self._roughly(found, now)

    def _changes(self, now: Trial) -> list[Change]:
        """Other kernels: those that ask for less at the fullest moment, and those that save most cycles."""
        crowded = _crowded_nodes(now)
        promises: list[tuple[float, Change]] = []
        for name, own in self.listed.items():
            mine = self._candidate(name, now.assigned.kernels)
            for one in own:
                less = (mine.ring_bytes - one.ring_bytes) / now.found.peak_bytes if name in crowded else 0
                faster = (mine.cycles - one.cycles) / now.cycles
                if one is not mine and max(less, faster) > 0:
                    promises.append((max(less, faster) + min(less, faster) / 2, (name, one)))
        promises.sort(key=lambda promise: -promise[0])
        return [change for _, change in promises[:_MOST_CHANGES]]

    def _network(self, kernels: Mapping[str, Kernel]) -> tuple[Graph, Network, float, float]:
        """What follows from the kernels, and the cycles and bytes of flash that they and the copies cost."""
        key = _key(kernels)
        if key not in self._built:
            graph, bindings = self.bind(kernels)
            network = build_network(graph, bindings, pushed=self.pushed)
            cycles = flash_bytes = 1.0
            code_bytes: dict[Hashable, float] = {}
            for node in network.nodes:
                if node.name in kernels:
                    own = self._candidate(node.name, kernels)
                    cycles, flash_bytes = cycles + own.cycles, flash_bytes + own.weight_bytes
                    code_bytes[own.code] = max(own.code_bytes, code_bytes.get(own.code, 0))
                elif node.name in bindings:
                    cost = self._copy_cost(node, graph, bindings[node.name].kernel)
                    cycles, flash_bytes = cycles + cost.cycles, flash_bytes + cost.code_bytes
            self._built[key] = graph, network, cycles, flash_bytes + sum(code_bytes.values())
        return self._built[key]

    def _candidate(self, name: str, kernels: Mapping[str, Kernel]) -> Candidate:
        """What a node is in a plan."""
        return next(one for one in self.listed[name] if one.binding.kernel is kernels[name])

    def _copy_cost(self, node: Node, graph: Graph, kernel: Kernel) -> Cost:
        key = f"{graph.type(node.outputs[0])} {kernel.name}"
        if key not in self._copies_of:
            self._copies_of[key] = node_costs(node, graph, self.core, self.costs)[kernel.name][1]
        return self._copies_of[key]


def _key(kernels: Mapping[str, Kernel]) -> tuple[tuple[str, str], ...]:
    return tuple((name, kernel.name) for name, kernel in kernels.items())


def _worthwhile(own: Sequence[Candidate]) -> list[Candidate]:
    """Of kernels that ask the same of RAM, those that no other beats in cycles and in flash."""
    found: list[Candidate] = []
    for one in own:
        rivals = [other for other in own if other is not one and _asked(other.binding) == _asked(one.binding)]
        better = [other for other in rivals if (other.cycles, other.flash_bytes) < (one.cycles, one.flash_bytes)]
        if not any(other.flash_bytes <= one.flash_bytes for other in better):
            ring_bytes = one.ring_bytes - one.binding.scratch_bytes
            found.append(replace(one, ring_bytes=ring_bytes))
    return found


def _asked(binding: Binding) -> tuple[object, ...]:
    """What a kernel asks of RAM."""
    return binding.reads, binding.writes, binding.scratch_bytes, binding.keeps_scratch, binding.in_place


def _crowded_nodes(trial: Trial) -> frozenset[str]:
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
    return frozenset(network.nodes[task].name for task in tasks)


def _live_bytes(trial: Trial) -> list[int]:
    """Bytes alive at each action."""
    changes = [0] * (len(trial.found.order.actions) + 1)
    for request in memory_requests(trial.network, trial.found.order):
        for first, last in request.spans:
            changes[first] += request.bytes
            changes[min(last + 1, len(changes) - 1)] -= request.bytes
    return list(accumulate(changes[:-1])) or [0]


def _peak_action(trial: Trial) -> int:
    """The first action at which most bytes are alive."""
    live = _live_bytes(trial)
    return live.index(max(live))


def _fullness(trial: Trial) -> dict[str, float]:
    """Of each node, the most that was alive with its results or while it worked, as a part of the peak."""
    live, network, order = _live_bytes(trial), trial.network, trial.found.order
    most = max(max(live), 1)
    found = dict.fromkeys((node.name for node in network.nodes), 0.0)
    for task, node in enumerate(network.nodes):
        spans = list(order.scratch[task])
        for tensor in network.results[task]:
            spans += order.lives[network.storage_of[tensor]].spans
        found[node.name] = max((max(live[first : last + 1]) for first, last in spans), default=0) / most
    return found
