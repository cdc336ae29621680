"""Weights of convolutions and fully connected layers on RV32M, as `dots_rv32` reads them.

Packed: eight channels in five words, or five in three (`packing_armv6m`), so that one multiplication serves more than
one channel. Where sums are too wide for their fields, taps are split into segments, whose sums are taken apart
one by one. Bytes: one for each weight; no sum is too wide.

The stream holds for each group of channels: for each segment start words and the weights of its taps, then the
parameters of requantisation in the order in which channels are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from midge.kernels.packing_armv6m import WORD_BITS, Chain, Coding, coding_for, needed_bits, segments
from midge.kernels.requantize_rv32 import Requantization

GROUPS = (8, 5)
"""Channels that are packed together: in five words, in three."""
_EXCESS = 128
_FEWEST_TAPS = 12
"""In a segment: taking sums apart costs as much as a few taps."""


@dataclass(frozen=True, slots=True)
class Segmentation:
    """`rows` rows of taps are a segment, or each row is `parts` of them: alike, but that the last of one row alone may
    be shorter."""

    rows: int
    parts: int

    def ends(self, kh: int, run: int) -> tuple[int, ...]:
        """The tap after each segment, for `kh` rows of `run` taps."""
        size = self.rows * run if self.parts == 1 else -(-run // self.parts)
        return (*range(size, kh * run, size), kh * run)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Weights [channels, taps] of a layer. `codings`: of full groups, and of the channels past the last full one."""

    weights: np.ndarray
    starts: np.ndarray
    """[segments, channels]: what sums start at."""
    ends: tuple[int, ...]
    """The tap after each segment."""
    segmentation: Segmentation
    codings: tuple[tuple[Coding, int], ...]
    """(coding, how many groups)."""
    word_bytes: int
    """4, or 1 where a word is a channel's weight itself."""

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        kind = "r".join(coding.key for coding, _ in self.codings) if self.word_bytes == 4 else "b"
        return f"g{self.segmentation.rows}x{self.segmentation.parts}_{kind}"

    @property
    def segments(self) -> int:
        return len(self.starts)

    def stream(self, requantization: Requantization) -> np.ndarray:
        """int32 words in the order the code reads them."""
        parts: list[np.ndarray] = []
        first = 0
        for coding, count in self.codings:
            for _ in range(count):
                group = slice(first, first + coding.channels)
                for start, tap, end in zip(self.starts, (0, *self.ends), self.ends, strict=False):
                    part = self.weights[group, tap:end].T
                    parts += [coding.encode(start[group]), self._words(coding, part)]
                order = [first + channel for channel in making_order(coding)]
                parts.append(requantization.parameters[order].reshape(-1))
                first += coding.channels
        return np.concatenate(parts)

    def _words(self, coding: Coding, part: np.ndarray) -> np.ndarray:
        if self.word_bytes == 4:
            return coding.encode(part).reshape(-1)
        flat = part.astype(np.int8).reshape(-1)
        return np.pad(flat, (0, -flat.size % 4)).view(np.int32)


def making_order(coding: Coding) -> list[int]:
    """Channels in the order in which their results are made."""
    return [channel for chain in coding.chains for word in range(chain.words) for channel in made_at(chain, word)]


def made_at(chain: Chain, word: int) -> Iterator[int]:
    """The channels whose sums are complete when a word has been taken apart: its own, and the one shared before it."""
    yield chain.channels[2 * word]
    if word:
        yield chain.channels[2 * word - 1]


def pack(weights: np.ndarray, totals: np.ndarray, kh: int, group: int = GROUPS[0]) -> Weights | None:
    """Weights [channels, taps], `kh` rows of taps, for sums of int8 that start at `totals`; None where they fit not."""
    return _pack(weights.astype(np.int8).tobytes(), totals.astype(np.int64).tobytes(), len(weights), kh, group)


@lru_cache(maxsize=128)
def _pack(data: bytes, totals_data: bytes, channels: int, kh: int, group: int) -> Weights | None:
    """Found once, however often the planner asks."""
    weights = np.frombuffer(data, np.int8).reshape(channels, -1).astype(np.int64)
    totals = np.frombuffer(totals_data, np.int64)
    # The bounds are those of q + 128: sums of products with q differ by a constant.
    excess_totals = totals - _EXCESS * weights.sum(1)
    for segmentation in _segmentations(kh, weights.shape[1] // kh):
        ends = segmentation.ends(kh, weights.shape[1] // kh)
        found = segments(weights, excess_totals, len(ends), ends)
        codings = _codings(needed_bits(found.lows, found.highs).max(0).tolist(), group)
        if codings is not None:
            sums = np.add.reduceat(weights, (0, *ends[:-1]), axis=1).T
            return Weights(weights, found.starts + _EXCESS * sums, ends, segmentation, codings, 4)
    return None


def as_bytes(weights: np.ndarray, totals: np.ndarray, kh: int, group: int) -> Weights:
    """Weights [channels, taps] as bytes, in groups of so many channels."""
    full, rest = divmod(len(weights), group)
    plain = [Coding(tuple(Chain((channel,), (WORD_BITS,)) for channel in range(size))) for size in (group, rest)]
    codings = tuple((coding, count) for coding, count in zip(plain, (full, 1 if rest else 0), strict=True) if count)
    return Weights(weights.astype(np.int64), totals.astype(np.int64)[None], (weights.shape[1],), Segmentation(kh, 1),
                   codings, 1)  # fmt: skip


def _segmentations(kh: int, run: int) -> Iterator[Segmentation]:
    """Few segments first."""
    for rows in range(kh, 0, -1):
        if kh % rows == 0 and (rows == kh or rows * run >= _FEWEST_TAPS):
            yield Segmentation(rows, 1)
    for parts in range(2, run // _FEWEST_TAPS + 1):
        if run % parts == 0 or (kh == 1 and -(-run // -(-run // parts)) == parts):
            yield Segmentation(1, parts)


def _codings(needs: list[int], group: int) -> tuple[tuple[Coding, int], ...] | None:
    """Codings of channels whose sums need so many bits: one for all full groups, one for the rest."""
    full = len(needs) // group
    found: list[tuple[Coding, int]] = []
    if full:
        of_groups = [max(needs[channel : full * group : group]) for channel in range(group)]
        coding = coding_for(of_groups)
        if coding is None:
            return None
        found.append((coding, full))
    if len(needs) % group:
        coding = coding_for(needs[full * group :])
        if coding is None:
            return None
        found.append((coding, 1))
    return tuple(found)
