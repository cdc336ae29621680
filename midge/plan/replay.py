"""A schedule replayed over rings that remember which rows they hold: independent of how heights were found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from midge.plan.order import Schedule
from midge.plan.records import Action, Kind
from midge.plan.storage import Network, Reader, Tensor
from midge.plan.views import Place


def check(network: Network, plan: Schedule, heights: Sequence[int]) -> str | None:
    """None where rings of these heights hold every row that the schedule reads; else what is lost, and when."""
    rings = [_Ring(network, storage, height) for storage, height in enumerate(heights)]
    made = [0] * len(network.tensors)
    for tensor, record in enumerate(network.tensors):
        if record.producer is None:
            storage = network.storage_of[tensor]
            made[tensor] = record.rows
            if not network.storages[storage].is_pushed:
                for row in range(record.rows):
                    rings[storage].write(tensor, row)
    for now, action in enumerate(plan.actions):
        if action.kind is Kind.CLEAR:
            rings[action.target].clear()
        elif action.kind is Kind.PAD:
            rings[action.target].pad(action.index)
        else:
            lost = _replay_step(network, rings, made, action)
            if lost:
                return f"action {now}: {lost}"
    return None


class _Ring:
    """What lies in a storage: for each slot, which row of which tensor each value is of, and where there is padding."""

    def __init__(self, network: Network, storage: int, height: int) -> None:
        self.network, self.record, self.height = network, network.storages[storage], height
        tensors = [network.tensors[tensor] for tensor in self.record.tensors]
        self.shape = (
            max(tensor.place.column + tensor.columns for tensor in tensors),
            max(tensor.place.channel + tensor.channels for tensor in tensors),
        )
        self.slots: dict[int, np.ndarray] = {}
        """int64 [columns, channels, (tensor, row)]."""
        self.padding: dict[int, bool] = {}
        """Slots that hold nothing but padding."""
        self.own: set[tuple[int, int]] = set()
        """Rows of tensors whose rows have another length than the storage's: they lie in no ring."""

    def slot(self, tensor: Tensor, row: int) -> int:
        return (row + tensor.place.row + self.record.top) % self.height

    def write(self, index: int, row: int) -> None:
        """A row of a tensor comes in the place of what lay there, be it of other tensors."""
        tensor = self.network.tensors[index]
        if tensor.place.element is not None:
            self.own.add((index, row))
            return
        slot = self.slot(tensor, row)
        held = self.slots.setdefault(slot, np.full((*self.shape, 2), -1, np.int64))
        held[self.extent(tensor.place, tensor.columns, tensor.channels)] = (index, row)
        self.padding[slot] = False

    def clear(self) -> None:
        self.slots = {}
        self.padding = dict.fromkeys(range(self.height), True)

    def pad(self, row: int) -> None:
        self.slots.pop(row % self.height, None)
        self.padding[row % self.height] = True

    def holds(self, index: int, row: int, reader: Reader) -> bool:
        """True where all that is read of a row of a tensor is there; rows of padding are all alike."""
        tensor = self.network.tensors[index]
        if tensor.place.element is not None:
            return (index, row) in self.own
        slot = self.slot(tensor, row)
        if not 0 <= row < tensor.rows:
            return self.padding.get(slot, False)
        if slot not in self.slots:
            return False
        columns, channels = self.extent(tensor.place, tensor.columns, tensor.channels)
        held = self.slots[slot][_both(columns, reader.columns), _both(channels, reader.channels)]
        return bool((held == (index, row)).all())

    @staticmethod
    def extent(place: Place, columns: int, channels: int) -> tuple[slice, slice]:
        """Columns and channels of the storage."""
        return slice(place.column, place.column + columns), slice(place.channel, place.channel + channels)


def _both(span: slice, other: tuple[int, int] | None) -> slice:
    """What two spans share."""
    return span if other is None else slice(max(span.start, other[0]), min(span.stop, other[1]))


def _replay_step(network: Network, rings: Sequence[_Ring], made: list[int], action: Action) -> str | None:
    task = action.target
    for position, operand in enumerate(network.operands[task]):
        for tensor in operand:
            record = network.tensors[tensor]
            storage = network.storage_of[tensor]
            reader = next(reader for reader in record.readers if (reader.task, reader.position) == (task, position))
            low, high = reader.needs[action.index]
            if network.storages[storage].is_pushed:
                if (low, high) != (action.index, action.index):
                    return f"{network.nodes[task].name} step {action.index} wants rows {low} to {high}, and has one"
                continue
            for row in range(low, high + 1):
                if not rings[storage].holds(tensor, row, reader):
                    return f"{network.nodes[task].name} step {action.index} lost row {row} of {record.name}"
    for tensor in network.results[task]:
        makes = network.bindings[task].steps[action.index].makes
        for _ in range(min(makes, network.tensors[tensor].rows - made[tensor])):
            rings[network.storage_of[tensor]].write(tensor, made[tensor])
            made[tensor] += 1
    return None
