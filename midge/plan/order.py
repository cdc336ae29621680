"""The schedule: every row is made just before the row that needs it, and each ring is as high as that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from midge.plan.records import Action, Kind
from midge.plan.storage import Network, Reader, Tensor

Span = tuple[int, int]
"""First and last of the actions that need some memory."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a schedule asks of one storage: rows kept, and when it holds something.

    A storage without padding round it is free for others while every row made so far has been read.
    """

    height: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Actions in order; `lives` by storage; `scratch` by task."""

    actions: tuple[Action, ...]
    lives: tuple[Life, ...]
    scratch: tuple[tuple[Span, ...], ...]


def schedule(network: Network, whole: frozenset[int]) -> Schedule:
    """Pull the outputs' rows through the network; tensors in `whole` are completed before their first row is read.

    The heights are minimal for this order of actions: a ring with one row less would lose a row that a later
    step reads (`replay.check` shows it).
    """
    return _Simulation(network, whole).run()


_NEVER = 1 << 30
"""A row that no tensor has."""


class _Simulation:
    """The mutable state of one run through the network."""

    def __init__(self, network: Network, whole: frozenset[int]) -> None:
        self.network = network
        self.whole = whole
        self.actions: list[Action] = []
        self.next_step = [0] * len(network.bindings)
        self.made = [0 if tensor.producer is not None else tensor.rows for tensor in network.tensors]
        count = len(network.storages)
        self.padded = [0] * count
        """Rows of padding below the last row that each storage has got."""
        self.height = [1] * count
        self.newest = [0] * count
        """The last padded row that came into each storage."""
        self.has_parts = [_has_parts(network, storage) for storage in range(count)]
        self.apart: list[set[int]] = [set() for _ in range(count)]
        """Of storages with parts: how many rows lie between two that would overlap in one slot."""
        self.opened: list[int | None] = [None] * count
        """The action since which each storage holds something."""
        self.begun = [False] * count
        self.last = [0] * count
        self.spans: list[list[Span]] = [[] for _ in range(count)]
        self.scratch: list[list[Span]] = [[] for _ in network.bindings]
        self.oldest = [_oldest_rows(tensor) for tensor in network.tensors]
        self.first = [
            network.storages[network.storage_of[index]].top + tensor.place.row
            for index, tensor in enumerate(network.tensors)
        ]
        """The padded row that each tensor's first one is."""
        self.needs = [_operand_needs(network, task) for task in range(len(network.bindings))]

    def run(self) -> Schedule:
        for tensor, record in enumerate(self.network.tensors):
            if record.producer is None:
                self._begin(self.network.storage_of[tensor])
        for tensor, record in enumerate(self.network.tensors):
            if record.is_output:
                self._demand(tensor, record.rows - 1)
        for task, binding in enumerate(self.network.bindings):  # steps that only side results are left of
            while self.next_step[task] < len(binding.steps):
                self._step(task)
        end = max(len(self.actions) - 1, 0)
        lives = []
        for index, storage in enumerate(self.network.storages):
            records = [self.network.tensors[tensor] for tensor in storage.tensors]
            kept = any(record.is_output or record.is_state for record in records)
            height = 0 if storage.is_pushed else storage.rows if storage.is_flat else self._least_height(index)
            opened = self.opened[index]
            if opened is not None:
                self.spans[index].append((opened, end if kept else max(opened, self.last[index])))
            lives.append(Life(height, tuple(self.spans[index]) or ((0, 0),)))
        return Schedule(tuple(self.actions), tuple(lives), tuple(tuple(spans) for spans in self.scratch))

    def _demand(self, tensor: int, row: int) -> None:
        """Make rows up to `row`, which may lie in the padding below the tensor."""
        record = self.network.tensors[tensor]
        last_row = record.rows - 1
        wanted = last_row if tensor in self.whole else min(row, last_row)
        while self.made[tensor] <= wanted:
            assert record.producer is not None
            self._step(record.producer)
        storage = self.network.storage_of[tensor]
        while self.padded[storage] <= row - record.rows:
            padded_row = self.network.storages[storage].top + self.network.storages[storage].rows + self.padded[storage]
            self._act(Action(Kind.PAD, storage, padded_row))
            self.padded[storage] += 1
            self._grow(storage, padded_row)

    def _step(self, task: int) -> None:
        network = self.network
        binding = network.bindings[task]
        index = self.next_step[task]
        needs = [(operand, rows[index]) for operand, rows in self.needs[task]]
        for operand, need in needs:
            self._demand(operand, need[1])
        for operand, need in needs:
            # A step that reads padding only comes before any row of its operand.
            if need[0] <= need[1]:
                self._ready(network.storage_of[operand])
        for tensor in network.results[task]:
            self._begin(network.storage_of[tensor])
        self.next_step[task] = index + 1
        self._act(Action(Kind.RUN, task, index))
        now = len(self.actions) - 1
        makes = binding.steps[index].makes
        made = {tensor: self.made[tensor] for tensor in network.results[task]}
        for tensor in made:
            self.made[tensor] = min(self.made[tensor] + makes, network.tensors[tensor].rows)
        for operand, need in needs:
            if need[0] <= need[1]:
                self.last[network.storage_of[operand]] = now
                self._close(network.storage_of[operand], now)
        if binding.keeps_scratch and index:
            self.scratch[task] = [(self.scratch[task][0][0], now)]
        else:
            self.scratch[task].append((now, now))
        for tensor in network.results[task]:
            storage = network.storage_of[tensor]
            self.last[storage] = now
            if makes:
                for row in range(made[tensor], self.made[tensor]):
                    self._grow(storage, self.first[tensor] + row, tensor)
                # Rows of one step have slots of their own, even those that nobody reads.
                self.height[storage] = max(self.height[storage], makes)

    def _begin(self, storage: int) -> None:
        """A row comes into a storage; before its first one comes its padding."""
        if self.opened[storage] is None:
            self.opened[storage] = len(self.actions)
        if not self.begun[storage] and self.network.storages[storage].is_padded:
            self._act(Action(Kind.CLEAR, storage, 0))
        self.begun[storage] = True

    def _ready(self, storage: int) -> None:
        """A storage is read; where nothing came into it yet, its padding does."""
        if not self.begun[storage]:
            self._begin(storage)

    def _close(self, storage: int, now: int) -> None:
        """End a span where no row of the storage will be read again, and nothing else has to stay in it."""
        opened = self.opened[storage]
        if opened is None or self.network.storages[storage].is_padded:
            return
        for tensor in self.network.storages[storage].tensors:
            record = self.network.tensors[tensor]
            if record.is_output or record.is_state or self._oldest(tensor) < self.made[tensor]:
                return
        self.spans[storage].append((opened, now))
        self.opened[storage] = None

    def _oldest(self, tensor: int) -> int:
        """The oldest row of a tensor that a step still to come reads."""
        oldest = _NEVER
        for task, rows in self.oldest[tensor]:
            row = rows[self.next_step[task]]
            if row < oldest:
                oldest = row
        return oldest

    def _act(self, action: Action) -> None:
        self.actions.append(action)

    def _grow(self, storage: int, row: int, tensor: int | None = None) -> None:
        """A new (padded) row, of a tensor or of padding, must leave alone each one that is there and will be read."""
        record = self.network.storages[storage]
        if record.is_flat:
            return
        if self.has_parts[storage]:
            self._keep_apart(storage, row, tensor)
            return
        self.newest[storage] = newest = max(self.newest[storage], row)
        oldest = row
        for other in record.tensors:
            oldest = min(oldest, self.first[other] + self._oldest(other))
        self.height[storage] = max(self.height[storage], newest - oldest + 1)

    def _keep_apart(self, storage: int, row: int, tensor: int | None) -> None:
        record = self.network.storages[storage]
        for other in record.tensors:
            one = self.network.tensors[other]
            if tensor is not None and not _lie_in_line(self.network.tensors[tensor], one):
                continue
            is_last = one.place.row + one.rows == record.rows and self.made[other] == one.rows
            end = self.made[other] + (self.padded[storage] if is_last else 0)
            at = row - self.first[other]
            for reader, (task, oldest) in zip(one.readers, self.oldest[other], strict=True):
                last = max((need[1] for need in reader.needs), default=-1)
                kept = range(oldest[self.next_step[task]], min(end, last + 1))
                if tensor is None:  # rows of padding are all alike
                    kept = range(max(kept.start, 0), min(kept.stop, one.rows))
                self.apart[storage].update(abs(at - other_row) for other_row in kept)

    def _least_height(self, storage: int) -> int:
        """Slots for all rows that are there together; rows of parts below each other need not be neighbours."""
        height = self.height[storage]
        while any(rows and rows % height == 0 for rows in self.apart[storage]):
            height += 1
        return height


def _has_parts(network: Network, storage: int) -> bool:
    """True where tensors lie beside or below each other."""
    return len({network.tensors[tensor].place for tensor in network.storages[storage].tensors}) > 1


def _lie_in_line(a: Tensor, b: Tensor) -> bool:
    """True where rows of two tensors in one slot would overlap."""
    columns = a.place.column < b.place.column + b.columns and b.place.column < a.place.column + a.columns
    return columns and a.place.channel < b.place.channel + b.channels and b.place.channel < a.place.channel + a.channels


def _reader(tensor: Tensor, task: int, position: int) -> Reader:
    return next(reader for reader in tensor.readers if (reader.task, reader.position) == (task, position))


def _operand_needs(network: Network, task: int) -> list[tuple[int, tuple[Span, ...]]]:
    """Of each tensor that the operands are made of: for each step the first and last row, in the tensor's own rows."""
    return [
        (tensor, _reader(network.tensors[tensor], task, position).needs)
        for position, operand in enumerate(network.operands[task])
        for tensor in operand
    ]


def _oldest_rows(tensor: Tensor) -> list[tuple[int, list[int]]]:
    """For each reader of a tensor: by step, the oldest row that this step or a later one reads."""
    rows = []
    for reader in tensor.readers:
        oldest = [_NEVER] * (len(reader.needs) + 1)
        for step in range(len(reader.needs) - 1, -1, -1):
            oldest[step] = min(oldest[step + 1], reader.needs[step][0])
        rows.append((reader.task, oldest))
    return rows


def live_peak(sizes: Sequence[int], spans: Sequence[Sequence[Span]]) -> int:
    """Most bytes alive at one action, of buffers with these sizes and spans (both ends included)."""
    return max((alive for alive, _ in live_profile(sizes, spans)), default=0)


def live_profile(sizes: Sequence[int], spans: Sequence[Sequence[Span]]) -> list[tuple[int, int]]:
    """(bytes alive, for how many actions), in order of time."""
    change: dict[int, int] = {}
    for size, own in zip(sizes, spans, strict=True):
        for first, last in own:
            change[first] = change.get(first, 0) + size
            change[last + 1] = change.get(last + 1, 0) - size
    alive, profile = 0, []
    for action, until in pairwise(sorted(change)):
        alive += change[action]
        profile.append((alive, until - action))
    return profile
