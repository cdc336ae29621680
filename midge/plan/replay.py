"""A schedule replayed over rings that remember which rows they hold: independent of how heights were found."""

from __future__ import annotations

from collections.abc import Sequence

from midge.plan.order import Schedule
from midge.plan.records import Action, Kind
from midge.plan.storage import Network, Tensor

_PADDING = -1


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
    """What lies in a storage. A slot holds rows of several tensors where these lie beside each other."""

    def __init__(self, network: Network, storage: int, height: int) -> None:
        self.network, self.record, self.height = network, network.storages[storage], height
        self.slots: dict[int, dict[int, int]] = {}
        """For each slot the rows in it, by tensor."""
        self.padding: dict[int, bool] = {}
        """Slots that hold nothing but padding."""

    def slot(self, tensor: Tensor, row: int) -> int:
        return (row + tensor.place.row + self.record.top) % self.height

    def write(self, index: int, row: int) -> None:
        """A row of a tensor comes in the place of what lay there: of rows of other tensors that overlap it too."""
        tensor = self.network.tensors[index]
        if tensor.place.element is not None:  # rows of its own in memory that is no ring
            self.slots.setdefault(-1 - index, {})[row] = row
            return
        slot = self.slot(tensor, row)
        others = self.slots.setdefault(slot, {})
        for other in list(others):
            if self._overlap(tensor, self.network.tensors[other]):
                del others[other]
        others[index] = row
        self.padding[slot] = False

    def clear(self) -> None:
        self.slots = {}
        self.padding = dict.fromkeys(range(self.height), True)

    def pad(self, row: int) -> None:
        self.slots[row % self.height] = {}
        self.padding[row % self.height] = True

    def holds(self, index: int, row: int) -> bool:
        """True where a row of a tensor is there; rows of padding are all alike."""
        tensor = self.network.tensors[index]
        if tensor.place.element is not None:
            return row in self.slots.get(-1 - index, {})
        slot = self.slot(tensor, row)
        if 0 <= row < tensor.rows:
            return self.slots.get(slot, {}).get(index, _PADDING) == row
        return self.padding.get(slot, False)

    def _overlap(self, a: Tensor, b: Tensor) -> bool:
        return all(first_a < end_b and first_b < end_a for (first_a, end_a), (first_b, end_b) in zip(
            self._extent(a), self._extent(b), strict=True))  # fmt: skip

    def _extent(self, tensor: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """Columns and channels of the storage that a tensor lies in."""
        place = tensor.place
        return (place.column, place.column + tensor.columns), (place.channel, place.channel + tensor.channels)


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
                if not rings[storage].holds(tensor, row):
                    return f"{network.nodes[task].name} step {action.index} lost row {row} of {record.name}"
    for tensor in network.results[task]:
        makes = network.bindings[task].steps[action.index].makes
        for _ in range(min(makes, network.tensors[tensor].rows - made[tensor])):
            rings[network.storage_of[tensor]].write(tensor, made[tensor])
            made[tensor] += 1
    return None
