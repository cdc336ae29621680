"""Requantisation whose numbers of a channel are one word, for functions that layers share: proven like all others.

The word holds a multiplier scaled to 2^30 … 2^31, as the reference's, and four bits: the part of the shift that
channels have of their own. They are either the multiplier's four lowest bits, or its two lowest ones (the part's upper
half) and the word's two highest, which are 0 and 1 in all multipliers (the lower half): the first takes an instruction,
the second is nearer to the real scale. A multiplier so near does as well, which is proven step by step. With a number
`factor` that all channels of a layer share the forms of `staircase` become

    staircase  offset = (factor << part) + 2^(fraction_bits - 2)
               (offset + (acc * multiplier >> 32)) >> part >> fraction_bits
    literal    offset = factor << part
               high = (2 * acc * multiplier + 2^31) >> 32, (high + (high >> 31) + offset) >> part >> 1

The first term of an offset is the half that rounds, and the zero point. The second one stands for the first one of the
reference's two roundings: with multipliers scaled alike it is the same for all channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.kernels.staircase import Literal, Scaling, Staircase, steps_of
from midge.ops.base import Rounding

LOW_BITS = (4, 2)
"""How many of the part's four bits are the multiplier's lowest."""
LITERAL_REST = 1
"""Of a literal form's shift: what is not in the word."""
_MOST_PART = 15
_ONE = 1 << 30
"""The least multiplier of one that is scaled."""
_MOST_TURNS = 32
_HOPELESS_TURNS = 4
"""After so many a quarter of the channels must be done."""


def centre(fraction_bits: int) -> int:
    """The second term of a staircase's offset."""
    return 1 << (fraction_bits - 2)


def words_of(form: Staircase | Literal, low_bits: int) -> np.ndarray:
    """int32 [channels]: the words of a form that `packed` found for so many low bits."""
    words = form.multipliers.astype(np.int64)
    if low_bits == LOW_BITS[1]:
        words = (words & (_ONE - 1)) | (_parts(form) & 3) << 30
    return words.astype(np.uint32).view(np.int32)


def factor_of(form: Staircase | Literal) -> int:
    """The number that all channels share."""
    second = 0 if isinstance(form, Literal) else centre(form.fraction_bits)
    return int((int(form.offsets[0]) - second) >> int(_parts(form)[0]))


def _parts(form: Staircase | Literal) -> np.ndarray:
    return form.shifts.astype(np.int64) - (LITERAL_REST if isinstance(form, Literal) else form.fraction_bits)


def packed(scaling: Scaling, biases: np.ndarray, lows: np.ndarray, highs: np.ndarray, *, fraction_bits: int,
           low_bits: int) -> Staircase | Literal | None:  # fmt: skip
    """A form for accumulators that start at `biases` and stay within [lows, highs]; None where there is none.

    A channel that has one result whatever the input is may have a start or a scale that 32 bits are too few for; then
    it starts at 0 and its scale is next to nothing.
    """
    if scaling.rounding is not Rounding.DOUBLE or fraction_bits < 2:
        return None
    parts = -scaling.shifts.astype(np.int64) - 1
    most = 2**30 >> fraction_bits
    reach = np.maximum(np.maximum(np.abs(lows), np.abs(highs)), np.abs(biases))
    fits = (parts >= 0) & (parts <= _MOST_PART) & (reach < most) & (scaling.multipliers >= _ONE)
    is_narrow = np.maximum(np.abs(lows - biases), np.abs(highs - biases)) < most
    if not np.all(fits | (scaling.is_constant(lows, highs) & is_narrow)):
        return None
    starts, parts = np.where(fits, biases, 0), np.where(fits, parts, _MOST_PART)
    nothing = 0 if low_bits == LOW_BITS[0] else _ONE
    guess = np.where(fits, scaling.multipliers, nothing).astype(np.int64)
    steps, by = steps_of(scaling, lows, highs, fraction_bits), (starts - biases) << fraction_bits
    steps = replace(steps, reaches=steps.reaches + by, misses=steps.misses + by)
    factor = 2 * scaling.zero_point + 1
    offsets, shifts = (np.int64(factor) << (parts + fraction_bits - 1)) + centre(fraction_bits), parts + fraction_bits

    def rises(multipliers: np.ndarray, channels: np.ndarray) -> np.ndarray:
        least, most = steps.bounds(multipliers, shifts[channels], channels)
        return (least <= offsets[channels]) & (offsets[channels] <= most)

    found = _search(rises, guess, parts, low_bits)
    if found is not None:
        return Staircase(starts << fraction_bits, found, offsets.astype(np.int32), None, shifts, fraction_bits)
    offsets, shifts = np.int64(factor) << parts, parts + LITERAL_REST

    def rises_literally(multipliers: np.ndarray, channels: np.ndarray) -> np.ndarray:
        def result(acc: np.ndarray) -> np.ndarray:
            high = ((acc[:, channels] >> (fraction_bits - 1)) * multipliers + 2**31) >> 32
            return (high + (high >> 31) + offsets[channels]) >> shifts[channels]

        reached = ~steps.reach_occurs[:, channels] | (result(steps.reaches) >= steps.results)
        missed = ~steps.miss_occurs[:, channels] | (result(steps.misses) < steps.results)
        return np.all(reached & missed, axis=0)

    found = _search(rises_literally, guess, parts, low_bits)
    if found is None:
        return None
    return Literal(starts << fraction_bits, found, offsets.astype(np.int32), shifts, fraction_bits)


def _search(rises: Callable[[np.ndarray, np.ndarray], np.ndarray], guess: np.ndarray, parts: np.ndarray, low_bits: int
            ) -> np.ndarray | None:  # fmt: skip
    """int32 [channels]: the multiplier nearest to the guess with which a channel rises as the reference.

    None if a channel has none.
    """
    step = 1 << low_bits
    low = parts >> (LOW_BITS[0] - low_bits)
    least = 0 if low_bits == LOW_BITS[0] else _ONE
    found, left = np.zeros(len(guess), np.int64), np.arange(len(guess))
    for turn in range(2 * _MOST_TURNS):
        by = (turn + 1) // 2 * (1 if turn % 2 else -1)
        tried = ((guess[left] & -step) | low[left]) + by * step
        good = (tried >= least) & (tried < 2 * _ONE) & rises(tried, left)
        found[left[good]] = tried[good]
        left = left[~good]
        if not left.size:
            return found.astype(np.int32)
        if turn == _HOPELESS_TURNS and 4 * left.size > 3 * len(guess):
            return None
    return None
