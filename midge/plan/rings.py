"""Which tensors to complete before they are read, and what memory a schedule asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from midge.plan.arena import Request, aligned
from midge.plan.order import Schedule, live_profile, schedule
from midge.plan.records import row_stride
from midge.plan.storage import Network

_MOST_SCHEDULES = 300
_NORM = 12
"""High enough for the highest moments to decide, low enough for the next highest to have a say."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A schedule with its price: the most bytes alive at one action, how crowded memory is, how many actions."""

    whole: frozenset[int]
    order: Schedule
    peak_bytes: int
    crowding: float
    """A norm of the bytes alive over time: falls when one of several equal peaks does."""

    @property
    def price(self) -> tuple[int, int]:
        return self.peak_bytes, len(self.order.actions)


def ordered(network: Network, whole: frozenset[int]) -> Ordered:
    """The schedule that completes the tensors of `whole` before it reads them."""
    order = schedule(network, whole)
    requests = memory_requests(network, order)
    profile = live_profile([aligned(request.bytes) for request in requests], [request.spans for request in requests])
    total = max(sum(count for _, count in profile), 1)
    norm = (sum(count * float(alive) ** _NORM for alive, count in profile) / total) ** (1 / _NORM)
    return Ordered(whole, order, max((alive for alive, _ in profile), default=0), norm)


def can_be_whole(network: Network) -> list[int]:
    """Tensors that may be completed before they are read: those of several rows that a task makes."""
    return [index for index, tensor in enumerate(network.tensors) if tensor.rows > 1 and tensor.producer is not None]


def best_order(network: Network) -> Ordered:
    """The schedule with the smallest memory peak: which tensors to hold whole, found by local search.

    Starts from all rings, all whole, and "rings up to here, whole from here on", then changes one tensor
    at a time. Ties go to the schedule with fewer actions.
    """
    candidates = can_be_whole(network)
    starts = [frozenset(candidates[cut:]) for cut in range(len(candidates) + 1)]
    best = min((ordered(network, whole) for whole in starts), key=lambda found: found.price)
    return improved(network, best, candidates, lambda found: found.price, _MOST_SCHEDULES - len(starts))


def improved(network: Network, best: Ordered, candidates: Collection[int],
             price: Callable[[Ordered], tuple[float, ...]], most: int) -> Ordered:  # fmt: skip
    """The best schedule found by changing one of the candidates at a time, after at most about `most` tries."""
    tried, better = 0, True
    while better and tried < most:
        better = False
        for index in candidates:
            found = ordered(network, best.whole ^ {index})
            tried += 1
            if price(found) < price(best):
                best, better = found, True
    return best


def memory_requests(network: Network, order: Schedule) -> list[Request]:
    """Memory of all storages, then of all tasks' scratch."""
    requests = [
        Request(
            s.planes * life.height * row_stride(s.layout, s.left + s.right, s.pixel_bytes, s.row_bytes) + s.slack_bytes,
            life.spans,
        )
        for s, life in zip(network.storages, order.lives, strict=True)
    ]
    requests += [
        Request(binding.scratch_bytes, spans)
        for binding, spans in zip(network.bindings, order.scratch, strict=True)
        if binding.scratch_bytes
    ]
    return requests


def names_of(network: Network, tensors: Iterable[int]) -> frozenset[str]:
    """The names of tensors, which stay the same where a network is built anew."""
    return frozenset(network.tensors[index].name for index in tensors)
