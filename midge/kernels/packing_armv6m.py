"""Weights of several channels in shared words, so that one multiplication of 32 bits serves more than one channel.

A chain of m words serves 2m - 1 channels. Sums of products in a word are a number whose low bits are the sum of one
channel (the word's own); above it lie the bits of channels that two words share:

    word 0    own 0 + 2^a0 shared 0                        shared 0: its low 32 - a0 bits (the rest falls off)
    word 1    own 1 + 2^b0 shared 0 + 2^a1 shared 1        the rest of shared 0's bits, above own 1
    ...

All is linear modulo 2^32, so whatever the order of additions, what overflows does not matter: only each channel's
final sum must fit the width of its field, which the weights prove. Decoding goes from word 0 upwards: the low field is
read off with its sign and subtracted, and what is known of a shared channel is subtracted from the next word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORD_BITS = 32
CHANNELS = 8
"""Channels of a full group: two chains, of two and of three words."""
_CHAIN_WORDS = {1: (1,), 2: (1, 1), 3: (2,), 4: (1, 2), 5: (3,), 6: (2, 2), 7: (1, 1, 3), 8: (2, 3)}
"""Words of each chain for a group of so many channels; five words at most."""
_COMMON = {(2, 3): ((21, 21, 22), (19, 19, 19, 19, 20))}
"""Widths that are tried first, so that layers share code."""
BYTE_MAX = 255


@dataclass(frozen=True, slots=True)
class Chain:
    """Channels in the order own 0, shared 0, own 1, shared 1, …, and the width of each one's field."""

    channels: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def words(self) -> int:
        return (len(self.channels) + 1) // 2

    def fields(self, word: int) -> tuple[int, int, int]:
        """Of one word: width of its own field, bits of the shared channel before, and of the one after it."""
        own = self.widths[2 * word]
        before = 0
        if word:
            before = self.widths[2 * word - 1] - self.fields(word - 1)[2]
        after = WORD_BITS - own - before if word < self.words - 1 else 0
        return own, before, after

    def shifts(self, word: int) -> dict[int, int]:
        """By which power of two each channel's weight stands in a word."""
        own, before, after = self.fields(word)
        found = {self.channels[2 * word]: 0}
        if word:
            found[self.channels[2 * word - 1]] = own - self.fields(word - 1)[2]
        if after:
            found[self.channels[2 * word + 1]] = own + before
        return found


@dataclass(frozen=True, slots=True)
class Coding:
    """How a group of channels shares words."""

    chains: tuple[Chain, ...]

    @property
    def words(self) -> int:
        return sum(chain.words for chain in self.chains)

    @property
    def channels(self) -> int:
        return sum(len(chain.channels) for chain in self.chains)

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        return "x".join("".join(f"{channel}w{width}" for channel, width in
                                zip(chain.channels, chain.widths, strict=True)) for chain in self.chains)  # fmt: skip

    def encode(self, values: np.ndarray) -> np.ndarray:
        """int32 [..., words] of weights (or sums) [..., channels]."""
        columns = []
        for chain in self.chains:
            for word in range(chain.words):
                parts = [
                    values[..., channel].astype(np.int64) << shift for channel, shift in chain.shifts(word).items()
                ]
                columns.append(sum(parts[1:], parts[0]))
        return (np.stack(columns, axis=-1) & 0xFFFF_FFFF).astype(np.uint32).view(np.int32)


def needed_bits(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """Bits that signed numbers between these bounds need."""
    most = np.maximum(-lows, highs + 1)
    return np.ceil(np.log2(np.maximum(most, 1))).astype(int) + 1


def coding_for(needs: Sequence[int]) -> Coding | None:
    """A coding of channels whose sums need so many bits each; None where they do not fit."""
    pattern = _CHAIN_WORDS[len(needs)]
    common = _COMMON.get(pattern)
    if common is not None:
        order = list(range(len(needs)))
        fits = [width >= needs[channel] for channel, width in zip(order, sum(common, ()), strict=True)]
        if all(fits):
            return Coding((Chain((0, 1, 2), common[0]), Chain((3, 4, 5, 6, 7), common[1])))
    order = sorted(range(len(needs)), key=lambda channel: (-needs[channel], channel))
    chains = []
    for words in pattern:
        channels, order = order[: 2 * words - 1], order[2 * words - 1 :]
        widths = _widths([needs[channel] for channel in channels])
        if widths is None:
            return None
        chains.append(Chain(tuple(channels), widths))
    return Coding(tuple(chains))


def _widths(needs: list[int]) -> tuple[int, ...] | None:
    """Widths of a chain's fields, no less than needed; None where the words are too few.

    A word's own field is at least as wide as the bits that the word before has of the channel between them, so that
    its shift is none to the right; a shared channel has at least one bit in each of its words.
    """
    widths: list[int] = []
    after = 0
    for position in range(0, len(needs), 2):
        own = max(needs[position], after)
        before = 0
        if position:
            before = max(needs[position - 1] - after, 1)
            widths.append(after + before)
        is_last = position == len(needs) - 1
        after = WORD_BITS - own - before
        if after < (0 if is_last else 1):
            return None
        widths.append(own)
    return tuple(widths)


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Taps in runs, each short enough for the fields of its sums; all arrays of signed 64-bit numbers.

    `ends[s]`: the tap after segment s. `starts[s]`: what sums [channels] start at.
    """

    ends: tuple[int, ...]
    starts: np.ndarray
    lows: np.ndarray
    highs: np.ndarray


def segments(weights: np.ndarray, totals: np.ndarray, count: int, ends: tuple[int, ...] = ()) -> Segments:
    """`count` segments of the taps of weights [channels, taps], for bytes 0 … 255; alike, or with these ends.

    The start values of all segments add up to `totals`, and lie such that the ranges of the sums are centred alike.
    """
    taps = weights.shape[1]
    ends = ends or tuple(-(-taps * (index + 1) // count) for index in range(count))
    lows, highs = [], []
    for first, end in zip((0, *ends[:-1]), ends, strict=True):
        part = weights[:, first:end].astype(np.int64)
        lows.append(BYTE_MAX * np.minimum(part, 0).sum(1))
        highs.append(BYTE_MAX * np.maximum(part, 0).sum(1))
    low, high = np.stack(lows), np.stack(highs)
    starts = -((low + high) >> 1)
    rest = totals.astype(np.int64) - starts.sum(0)
    starts = starts + rest // count
    starts[-1] += totals - starts.sum(0)
    return Segments(ends, starts, low + starts, high + starts)
