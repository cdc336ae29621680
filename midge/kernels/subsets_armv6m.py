"""Sums of products without multiplications: weights as planes of bits, inputs as tables of the sums of their subsets.

An int8 weight is `sum over k < 7 of 2^k bit_k, less 2^7 bit_7`. So a sum of products is eight sums of inputs, one for
each plane of bits, doubled and added up at the end. A plane's sum is taken six or eight inputs at a time: all sums of
their subsets are made once, for all channels, and the weights' bits of a plane are the index of the one that a channel
wants. One byte of flash, two or three instructions and a load serve a plane of six weights, at two neighbouring pixels,
whose sums share a word:

    entry of the table at 4 * bits = sum of the inputs at pixel p whose bit is set + 2^16 * the same at pixel p + 1

For a single pixel a table has the sums of eight inputs, each in a half word.

Neighbouring planes are put together before a word is taken apart, so half words must hold `sum_k + 2 sum_(k+1)`, and
`sum_6 - 2 sum_7` with its sign: taps come in chunks short enough for that, which the weights prove.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.errors import InternalError

PLANES = 8
BYTE_MAX = 255
_MOST_TABLE_BYTES = 3072
"""All tables of a chunk are in RAM at once."""
_HALF_WORD = 1 << 16


@dataclass(frozen=True, slots=True)
class Group:
    """Inputs that share a table: how many, its size, and by which power of two each one counts in an index.

    Indices are bytes of a table of words, or half words of a table of these.
    """

    taps: int
    table_bytes: int
    places: tuple[int, ...]


PAIR = Group(6, 256, (4, 5, 6, 7, 2, 3))
SINGLE = Group(8, 512, (0, 3, 4, 5, 6, 1, 2, 7))


@dataclass(frozen=True, slots=True, eq=False)
class Subsets:
    """Weights int8 [channels, taps], for pixels in pairs or one by one.

    Taps come in `chunks` of `groups` groups; those past the last one have weight 0.
    """

    weights: np.ndarray
    is_paired: bool
    chunks: int
    groups: int

    @property
    def group(self) -> Group:
        return PAIR if self.is_paired else SINGLE

    @property
    def chunk_taps(self) -> int:
        return self.groups * self.group.taps

    @property
    def padded_taps(self) -> int:
        return self.chunks * self.chunk_taps

    @property
    def table_bytes(self) -> int:
        """Of all tables of a chunk."""
        return self.groups * self.group.table_bytes

    def indices(self) -> np.ndarray:
        """uint8 [chunks, channels, groups, planes]: where each sum lies in its table."""
        channels, taps = self.weights.shape
        padded = np.zeros((channels, self.padded_taps), np.uint8)
        padded[:, :taps] = self.weights.astype(np.int8).view(np.uint8)
        grouped = padded.reshape(channels, self.chunks, self.groups, self.group.taps)
        bits = (grouped[..., None] >> np.arange(PLANES, dtype=np.uint8)) & 1
        found = (bits.astype(np.int64) << np.array(self.group.places)[:, None]).sum(axis=3)
        return found.transpose(1, 0, 2, 3).astype(np.uint8)


def subsets(weights: np.ndarray, *, is_paired: bool) -> Subsets:
    """The fewest chunks whose sums fit half words."""
    group = PAIR if is_paired else SINGLE
    groups = -(-weights.shape[1] // group.taps)
    for chunks in range(-(-groups * group.table_bytes // _MOST_TABLE_BYTES), groups + 1):
        found = Subsets(weights, is_paired, chunks, -(-groups // chunks))
        if not is_paired or fits_half_words(weights, found.chunk_taps):
            return found
    raise InternalError("subsets", "sums of six inputs that do not fit half words")


def fits_half_words(weights: np.ndarray, chunk_taps: int) -> bool:
    """Whether sums of neighbouring planes stay within half words in all chunks, whatever the inputs are."""
    channels, taps = weights.shape
    padded = np.zeros((channels, -(-taps // chunk_taps) * chunk_taps), np.int64)
    padded[:, :taps] = weights
    chunks = padded.reshape(channels, -1, chunk_taps)
    for plane in range(0, PLANES - 2, 2):
        if (BYTE_MAX * ((chunks >> plane) & 3).sum(axis=2)).max() >= _HALF_WORD:
            return False
    top = chunks >> (PLANES - 2)
    low, high = BYTE_MAX * np.minimum(top, 0).sum(axis=2), BYTE_MAX * np.maximum(top, 0).sum(axis=2)
    return bool(low.min() >= -_HALF_WORD // 2 and high.max() < _HALF_WORD // 2)
