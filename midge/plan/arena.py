"""Packing of buffers into one arena: offsets such that no two buffers that are alive together overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midge.plan.order import Span, live_peak

ALIGN_BYTES = 4
_SEARCH_NODES = 20_000
_IMPROVEMENTS = 300


@dataclass(frozen=True, slots=True)
class Request:
    """A buffer to place: its size, and when it holds something (spans in order)."""

    bytes: int
    spans: tuple[Span, ...]

    @property
    def first(self) -> int:
        return self.spans[0][0]

    @property
    def length(self) -> int:
        """Actions that it is needed for."""
        return sum(last - first + 1 for first, last in self.spans)


@dataclass(frozen=True, slots=True)
class Packing:
    """Offsets in the order of the requests. `proven_minimal`: no packing of these requests can be smaller."""

    offsets: tuple[int, ...]
    bytes: int
    lower_bound_bytes: int
    proven_minimal: bool


def pack(requests: Sequence[Request]) -> Packing:
    """Place the buffers; all offsets and sizes are multiples of ALIGN_BYTES.

    First fit in several orders, then the buffer on top of the arena moved to the front of the order, again and
    again; where that does not reach the lower bound, a search over all orders with a limit on its nodes.
    """
    sizes = [aligned(request.bytes) for request in requests]
    bound = live_peak(sizes, [request.spans for request in requests])
    search = _Search(requests, sizes, bound)
    exhausted = search.run()
    total = search.best_bytes
    return Packing(tuple(search.best_offsets), total, bound, total == bound or exhausted)


def aligned(size: int) -> int:
    return -(-size // ALIGN_BYTES) * ALIGN_BYTES


class _Search:
    def __init__(self, requests: Sequence[Request], sizes: list[int], bound: int) -> None:
        self.requests = requests
        self.sizes = sizes
        self.bound = bound
        count = len(requests)
        self.rivals = [
            [b for b in range(count) if b != a and _overlap(requests[a], requests[b])] for a in range(count)
        ]  # fmt: skip
        self.best_offsets: list[int] = [0] * count
        self.best_bytes = 1 << 62
        self.nodes = 0

    def run(self) -> bool:
        """Find the best packing; True where the search was exhaustive."""
        if not self.requests:
            self.best_bytes = 0
            return True
        spans = [request.length for request in self.requests]
        keys = (
            lambda i: (-self.sizes[i], self.requests[i].first),
            lambda i: (-spans[i], -self.sizes[i]),
            lambda i: (self.requests[i].first, -self.sizes[i]),
            lambda i: (-self.sizes[i] * spans[i], i),
        )
        for key in keys:
            self._improve(sorted(range(len(self.requests)), key=key))
            if self.best_bytes == self.bound:
                return True
        return self._exhaust([], set(range(len(self.requests))), [-1] * len(self.requests), 0)

    def _improve(self, order: list[int]) -> None:
        for _ in range(_IMPROVEMENTS):
            offsets = self._first_fit(order)
            total = max(offset + size for offset, size in zip(offsets, self.sizes, strict=True))
            if total < self.best_bytes:
                self.best_bytes, self.best_offsets = total, offsets
            if total == self.bound:
                return
            top = next(i for i in reversed(order) if offsets[i] + self.sizes[i] == total)
            if order[0] == top:
                return
            order = [top, *(i for i in order if i != top)]

    def _first_fit(self, order: Sequence[int]) -> list[int]:
        offsets = [-1] * len(self.requests)
        for i in order:
            offsets[i] = self._lowest(i, offsets)
        return offsets

    def _lowest(self, i: int, offsets: Sequence[int]) -> int:
        """The lowest offset for i that keeps clear of the rivals that are placed already."""
        offset = 0
        for low, high in sorted((offsets[j], offsets[j] + self.sizes[j]) for j in self.rivals[i] if offsets[j] >= 0):
            if offset + self.sizes[i] <= low:
                break
            offset = max(offset, high)
        return offset

    def _exhaust(self, order: list[int], left: set[int], offsets: list[int], total: int) -> bool:
        """All orders, cut where they can't beat the best; False where the limit on nodes was reached.

        Complete: an optimal packing pushed down is what first fit gives for its own order of offsets.
        """
        if total >= self.best_bytes:
            return True
        if not left:
            self.best_bytes, self.best_offsets = total, list(offsets)
            return True
        self.nodes += 1
        if self.nodes > _SEARCH_NODES:
            return False
        floor = max((offsets[i] for i in order), default=0)
        for i in sorted(left, key=lambda i: -self.sizes[i]):
            offset = self._lowest(i, offsets)
            if offset < floor:  # a packing in order of offsets has placed this one earlier
                continue
            offsets[i] = offset
            complete = self._exhaust([*order, i], left - {i}, offsets, max(total, offset + self.sizes[i]))
            offsets[i] = -1
            if not complete:
                return False
            if self.best_bytes == self.bound:
                return True
        return True


def _overlap(a: Request, b: Request) -> bool:
    """True where both hold something at the same action."""
    i = j = 0
    while i < len(a.spans) and j < len(b.spans):
        if a.spans[i][1] < b.spans[j][0]:
            i += 1
        elif b.spans[j][1] < a.spans[i][0]:
            j += 1
        else:
            return True
    return False
