"""Requantisation by proof: a cheaper form of an accumulator's way to int8, shown equal step by step.

The reference scaling (docs/numerics.md) is a monotone staircase: each result q has a smallest accumulator that reaches
it. A cheaper form is equal for every accumulator that can occur exactly if it reaches each result at the same one. The
form searched for is that of Armv7E-M's `SMMLA` and `SSAT`:

    (offset + (acc * multiplier >> 32)) >> shift, clamped

with `shift` shared by all channels, so that it is part of the instruction. Accumulators come with `fraction_bits` zero
bits below the point, since rows hold their values shifted left: that is what makes the product fine enough.

Where a rectifier cuts off all that is negative the bias can be part of the offset. Where not, the reference rounds
halves away from zero; then a negative accumulator (the bias included) is lowered by `lowering` first, one step of the
reference's first rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from midge.ops.base import Rounding
from midge.ops.fixed_point import multiply_by_quantized_multiplier

Pair = tuple[np.ndarray, np.ndarray]

_LONGEST_SHIFT = 18
_SHIFTS = 2
_NEAR = tuple(sign * turn * 2.0**-20 for turn in range(1, 49) for sign in (1, -1))
_FAR = tuple(sign * 2.0**-power for power in range(22, 9, -1) for sign in (1, -1))
_DISTANCES = (0.0, *_FAR, *_NEAR)
"""How far from the real scale multipliers are tried, as a part of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """The reference: `clamp(round(acc * multiplier * 2^(shift - 31)) + zero_point, low, high)` for each channel."""

    multipliers: np.ndarray
    shifts: np.ndarray
    rounding: Rounding
    zero_point: int
    low: int
    high: int

    def results(self, acc: np.ndarray) -> np.ndarray:
        """Clamped results of accumulators [..., channels]."""
        scaled = multiply_by_quantized_multiplier(acc, self.multipliers, self.shifts, self.rounding)
        return np.clip(scaled + self.zero_point, self.low, self.high)


@dataclass(frozen=True, slots=True, eq=False)
class Staircase:
    """The proven form. Accumulators start at `starts`; a negative one is first lowered by `lowerings`, if any."""

    starts: np.ndarray
    multipliers: np.ndarray
    offsets: np.ndarray
    lowerings: np.ndarray | None
    shift: int
    fraction_bits: int

    def moved(self, by: int) -> Staircase:
        """The form whose results are larger by a constant."""
        return replace(self, offsets=self.offsets + (by << self.shift))


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """The reference itself, for DOUBLE rounding and scales below 1, where no cheaper form is proven.

    `high = (acc * multiplier * 2 + 2^31) >> 32` (`SMMULR`), then `(high + (high >> 31) + offset) >> shift`: a half is
    part of the offset, and so is the zero point.
    """

    starts: np.ndarray
    multipliers: np.ndarray
    offsets: np.ndarray
    shifts: np.ndarray
    fraction_bits: int

    def moved(self, by: int) -> Literal:
        """The form whose results are larger by a constant."""
        return replace(self, offsets=self.offsets + (by << self.shifts))


def literal(scaling: Scaling, biases: np.ndarray, lows: np.ndarray, highs: np.ndarray, *, fraction_bits: int
            ) -> Literal | None:  # fmt: skip
    """The literal form for accumulators that start at `biases`; None where it does not apply or 32 bits are too few."""
    shifts = -scaling.shifts.astype(np.int64)
    reach = max(np.abs(lows).max(), np.abs(highs).max()) << fraction_bits
    if scaling.rounding is not Rounding.DOUBLE or shifts.min() < 1 or shifts.max() > 22 or reach >= 2**31:
        return None
    offsets = (np.int64(scaling.zero_point) << shifts) + (np.int64(1) << (shifts - 1))
    return Literal(
        biases.astype(np.int64) << fraction_bits, scaling.multipliers.astype(np.int32), offsets.astype(np.int32),
        shifts.astype(np.int32), fraction_bits,
    )  # fmt: skip


def first_accumulators(scaling: Scaling, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """The smallest accumulator in [low, high] of each channel that reaches each result above `scaling.low`.

    Shape [results, channels]; `high + 1` where none does. By bisection of the reference itself.
    """
    wanted = np.arange(scaling.low + 1, scaling.high + 1, dtype=np.int64)[:, None]
    below = np.broadcast_to(lows.astype(np.int64) - 1, (len(wanted), len(lows))).copy()
    above = np.broadcast_to(highs.astype(np.int64) + 1, below.shape).copy()
    while np.any(above - below > 1):
        middle = (below + above) >> 1
        reached = scaling.results(middle) >= wanted
        above = np.where(reached, middle, above)
        below = np.where(reached, below, middle)
    return above


def prove(scaling: Scaling, biases: np.ndarray, lows: np.ndarray, highs: np.ndarray, *,
          fraction_bits: int) -> Staircase | None:  # fmt: skip
    """A proven form for accumulators that start at `biases` and stay within [lows, highs]; None where there is none.

    Tried in this order: accumulators that start at 0, the bias part of the offset; that start at the bias; and the
    latter with lowerings. Where all channels have one scale, those that start at the bias go first: then one multiplier
    and one offset serve all.
    """
    thresholds = first_accumulators(scaling, lows, highs)
    occur = (thresholds <= highs, thresholds > lows)
    results = np.arange(scaling.low + 1, scaling.high + 1, dtype=np.int64)[:, None]
    real = scaling.multipliers.astype(np.float64) * 2.0 ** (scaling.shifts.astype(np.float64) - 31 - fraction_bits)
    unit = 1 << fraction_bits
    if max(np.abs(lows).max(), np.abs(highs).max(), np.abs(biases).max()) * unit * 2 >= 2**31 or not real.min() > 0:
        return None
    steps_at = thresholds * unit
    lowerings = np.round(2.0 ** (31 + fraction_bits) / scaling.multipliers.astype(np.float64)).astype(np.int64)
    forms = (
        (np.zeros(len(biases), np.int64), steps_at - biases * unit, None),
        (biases * unit, steps_at, None),
        (biases * unit, steps_at, lowerings),
    )
    is_shared = bool(np.all(real == real[0]))
    for starts, steps, lowering in (forms[1], forms[0], forms[2]) if is_shared else forms:
        below = 0 if lowering is None else lowering
        reaches = np.where(steps < 0, steps - below, steps)
        misses = np.where(steps - unit < 0, steps - unit - below, steps - unit)
        found = _forms(results, reaches, misses, occur, real)
        if found is not None:
            return Staircase(starts, found[0], found[1], lowering, found[2], fraction_bits)
    return None


def _forms(results: np.ndarray, reaches: np.ndarray, misses: np.ndarray, occur: Pair, real: np.ndarray
           ) -> tuple[np.ndarray, np.ndarray, int] | None:  # fmt: skip
    """Multipliers, offsets and the shift that they share. A shorter shift is coarser: few are worth a try."""
    longest = min(_LONGEST_SHIFT, _most_shift(real))
    for shift in range(longest, max(0, longest - _SHIFTS), -1):
        found = _search(results, reaches, misses, occur, real, shift)
        if found is not None:
            return (*found, shift)
    return None


def _most_shift(real: np.ndarray) -> int:
    """The longest shift whose multipliers stay below 2^31."""
    return int(np.floor(-1 - np.log2(real.max())))


def _search(results: np.ndarray, reaches: np.ndarray, misses: np.ndarray, occur: Pair, real: np.ndarray, shift: int
            ) -> Pair | None:  # fmt: skip
    """Multiplier and offset of each channel for one shift, or None.

    For a given multiplier each step bounds the offset from both sides: the accumulator that reaches result q must, with
    the offset, come to `q * 2^shift`, and the largest that misses it must not.
    """
    guess = np.round(real * 2.0 ** (32 + shift)).astype(np.int64)
    multipliers = np.zeros(len(real), np.int64)
    offsets = np.zeros(len(real), np.int64)
    left = np.arange(len(real))
    goal = results << shift
    for distance in _DISTANCES:
        tried = guess[left] + np.round(guess[left] * distance).astype(np.int64)
        least = np.where(occur[0][:, left], goal - ((reaches[:, left] * tried) >> 32), -(2**31)).max(
            0, initial=-(2**31)
        )
        most = np.where(occur[1][:, left], goal - 1 - ((misses[:, left] * tried) >> 32), 2**31 - 1).min(
            0, initial=2**31 - 1
        )
        good = (least <= most) & (tried < 2**31) & (tried > 0)
        multipliers[left[good]] = tried[good]
        offsets[left[good]] = (least + most)[good] >> 1
        left = left[~good]
        if not left.size:
            return multipliers.astype(np.int32), offsets.astype(np.int32)
        if left.size > len(real) // 4 and distance == _FAR[-1]:
            return None  # too coarse altogether: a search nearby would not help
    return None


def accumulator_range(
    weights: np.ndarray, biases: np.ndarray, x_low: int, x_high: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest accumulator of each channel for centred inputs in [x_low, x_high]; weights [channels, taps].

    Every partial sum stays within the range of the whole too, if 0 lies in [x_low, x_high].
    """
    w = weights.astype(np.int64)
    up, down = np.maximum(w, 0).sum(1), np.minimum(w, 0).sum(1)
    return biases + up * x_low + down * x_high, biases + up * x_high + down * x_low


def evaluate(form: Staircase, acc: Sequence[np.ndarray] | np.ndarray, low: int, high: int) -> np.ndarray:
    """What the form computes of sums of products [..., channels], without the bias; for tests."""
    seen = (np.asarray(acc, np.int64) << form.fraction_bits) + form.starts
    if form.lowerings is not None:
        seen = seen - np.where(seen < 0, form.lowerings, 0)
    scaled = form.offsets + ((seen * form.multipliers) >> 32)
    return np.clip(scaled >> form.shift, low, high)
