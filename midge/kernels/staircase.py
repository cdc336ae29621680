"""Requantisation by proof: a cheaper form of an accumulator's way to int8, shown equal step by step.

The reference scaling (docs/numerics.md) is a monotone staircase: each result q has a smallest accumulator that reaches
it. A cheaper form is equal for every accumulator that can occur exactly if it reaches each result at the same one. The
form searched for is that of Armv7E-M's `SMMLA` and `SSAT`:

    (offset + (acc * multiplier >> 32)) >> shift, clamped

with `shift` shared by all channels, so that it is part of the instruction; where channels' scales lie too far apart for
that, each has its own, for an instruction more. Accumulators come with `fraction_bits` zero
bits below the point, since rows hold their values shifted left: that is what makes the product fine enough.

Where a rectifier cuts off all that is negative the bias can be part of the offset. Where not, the reference rounds
halves away from zero; then a negative accumulator (the bias included) is lowered by `lowering` first, one step of the
reference's first rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from midge.errors import InternalError
from midge.ops.base import Rounding
from midge.ops.fixed_point import multiply_by_quantized_multiplier

Pair = tuple[np.ndarray, np.ndarray]

_LOWEST, _HIGHEST = -(2**31), 2**31 - 1
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

    def of(self, channels: np.ndarray) -> Scaling:
        """The scaling of some channels."""
        return replace(self, multipliers=self.multipliers[channels], shifts=self.shifts[channels])

    def is_constant(self, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        """For each channel whether all accumulators in its range have one result."""
        fits = (np.maximum(np.abs(lows), np.abs(highs)) < 2**31) & (self.shifts <= 0)
        return (lows == highs) | (fits & (self.results(lows) == self.results(highs)))

    def results(self, acc: np.ndarray) -> np.ndarray:
        """Clamped results of accumulators [..., channels]."""
        scaled = multiply_by_quantized_multiplier(acc, self.multipliers, self.shifts, self.rounding)
        return np.clip(scaled + self.zero_point, self.low, self.high)


@dataclass(frozen=True, slots=True, eq=False)
class Staircase:
    """The proven form. Accumulators start at `starts`; a negative one is first lowered by `lowerings`, if any.

    Shifts differ between channels only where there are no lowerings.
    """

    starts: np.ndarray
    multipliers: np.ndarray
    offsets: np.ndarray
    lowerings: np.ndarray | None
    shifts: np.ndarray
    fraction_bits: int

    @property
    def has_own_shifts(self) -> bool:
        """Channels do not share one shift."""
        return not np.all(self.shifts == self.shifts[0])

    @property
    def shift(self) -> int:
        """The shift that all channels share."""
        if self.has_own_shifts:
            raise InternalError("staircase", "a shift for each channel", "one that all share")
        return int(self.shifts[0])

    def moved(self, by: int) -> Staircase:
        """The form whose results are larger by a constant."""
        return replace(self, offsets=self.offsets + (by << self.shifts))


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


def with_constants(form: Staircase | Literal | None, varies: np.ndarray, results: np.ndarray, fraction_bits: int
                   ) -> Staircase | Literal:  # fmt: skip
    """A form of the channels that vary (None: no channel does), and for each other one the result that it always has.

    What these accumulate is multiplied by 0.
    """
    if form is None:
        nothing = np.zeros(0, np.int64)
        form = Staircase(nothing, nothing, nothing, None, nothing, fraction_bits)
    shift = int(form.shifts[0]) if form.shifts.size else 1

    def spread(own: np.ndarray, fill: np.ndarray | int) -> np.ndarray:
        values = np.array(np.broadcast_to(np.asarray(fill, np.int64), varies.shape))
        values[varies] = own
        return values

    columns = {
        "starts": spread(form.starts, 0),
        "multipliers": spread(form.multipliers, 0),
        "offsets": spread(form.offsets, results << shift),
        "shifts": spread(form.shifts, shift),
    }
    if isinstance(form, Staircase) and form.lowerings is not None:
        columns["lowerings"] = spread(form.lowerings, 0)
    return replace(form, **columns)


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


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """What a form has to do: shape [results, channels] but for `results`, which has one channel for all.

    Accumulators, with their fraction, that must reach a result (`reaches`), and the largest that must miss it, where
    such ones occur at all.
    """

    results: np.ndarray
    reaches: np.ndarray
    misses: np.ndarray
    reach_occurs: np.ndarray
    miss_occurs: np.ndarray

    def bounds(self, multipliers: np.ndarray, shifts: np.ndarray, channels: np.ndarray) -> Pair:
        """Least and largest offsets that some channels may have with these multipliers.

        What reaches result q must, with the offset, come to `q * 2^shift`; what misses it must not.
        """
        goal = self.results << shifts
        reaches = (self.reaches[:, channels] * multipliers) >> 32
        misses = (self.misses[:, channels] * multipliers) >> 32
        least = np.where(self.reach_occurs[:, channels], goal - reaches, _LOWEST)
        most = np.where(self.miss_occurs[:, channels], goal - 1 - misses, _HIGHEST)
        return least.max(0, initial=_LOWEST), most.min(0, initial=_HIGHEST)


def steps_of(scaling: Scaling, lows: np.ndarray, highs: np.ndarray, fraction_bits: int) -> Steps:
    """The steps of the reference within [lows, highs]."""
    first = first_accumulators(scaling, lows, highs)
    results = np.arange(scaling.low + 1, scaling.high + 1, dtype=np.int64)[:, None]
    at = first << fraction_bits
    return Steps(results, at, at - (1 << fraction_bits), first <= highs, first > lows)


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
          fraction_bits: int, own_shifts: bool = False) -> Staircase | None:  # fmt: skip
    """A proven form for accumulators that start at `biases` and stay within [lows, highs]; None where there is none.

    Tried in this order: accumulators that start at 0, the bias part of the offset; that start at the bias; both with a
    shift for each channel, if `own_shifts` says that code can have them; and the second with lowerings. Where all
    channels have one scale, those that start at the bias go first: then one multiplier and one offset serve all.
    """
    steps = steps_of(scaling, lows, highs, fraction_bits)
    real = scaling.multipliers.astype(np.float64) * 2.0 ** (scaling.shifts.astype(np.float64) - 31 - fraction_bits)
    unit = 1 << fraction_bits
    if max(np.abs(lows).max(), np.abs(highs).max(), np.abs(biases).max()) * unit * 2 >= 2**31 or not real.min() > 0:
        return None
    lowerings = np.round(2.0 ** (31 + fraction_bits) / scaling.multipliers.astype(np.float64)).astype(np.int64)
    without_bias = replace(steps, reaches=steps.reaches - biases * unit, misses=steps.misses - biases * unit)
    lowered = replace(steps, reaches=np.where(steps.reaches < 0, steps.reaches - lowerings, steps.reaches),
                      misses=np.where(steps.misses < 0, steps.misses - lowerings, steps.misses))  # fmt: skip
    from_zero = (np.zeros(len(biases), np.int64), without_bias, None)
    from_bias = (biases * unit, steps, None)
    shared, own = _shared_shifts(real), (_longest_shifts(real),)
    forms = (
        (from_zero, shared), (from_bias, shared), *(((from_zero, own), (from_bias, own)) if own_shifts else ()),
        ((biases * unit, lowered, lowerings), shared),
    )  # fmt: skip
    has_one_scale = bool(np.all(real == real[0]))
    for (starts, goal, lowering), tried in (forms[1], forms[0], forms[-1]) if has_one_scale else forms:
        for shifts in tried:
            found = _search(goal, real, shifts)
            if found is not None:
                return Staircase(starts, found[0], found[1], lowering, shifts, fraction_bits)
    return None


def _longest_shifts(real: np.ndarray) -> np.ndarray:
    """For each channel the longest shift whose multiplier stays below 2^31."""
    return np.clip(np.floor(-1 - np.log2(real)).astype(np.int64), 1, _LONGEST_SHIFT)


def _shared_shifts(real: np.ndarray) -> tuple[np.ndarray, ...]:
    """Shifts that all channels share. A shorter one is coarser: few are worth a try."""
    longest = min(_LONGEST_SHIFT, int(np.floor(-1 - np.log2(real.max()))))
    return tuple(np.full(len(real), shift) for shift in range(longest, max(0, longest - _SHIFTS), -1))


def _search(steps: Steps, real: np.ndarray, shifts: np.ndarray) -> Pair | None:
    """Multiplier and offset of each channel for these shifts, or None."""
    guess = np.round(real * 2.0 ** (32 + shifts)).astype(np.int64)
    multipliers = np.zeros(len(real), np.int64)
    bounds = np.zeros((2, len(real)), np.int64)
    left = np.arange(len(real))
    for distance in _DISTANCES:
        tried = guess[left] + np.round(guess[left] * distance).astype(np.int64)
        least, most = steps.bounds(tried, shifts[left], left)
        good = (least <= most) & (tried < 2**31) & (tried > 0)
        multipliers[left[good]] = tried[good]
        bounds[:, left[good]] = least[good], most[good]
        left = left[~good]
        if not left.size:
            return multipliers.astype(np.int32), _offsets(*bounds).astype(np.int32)
        if left.size > len(real) // 4 and distance == _FAR[-1]:
            return None  # too coarse altogether: a search nearby would not help
    return None


def _offsets(least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """An offset within each channel's bounds: one for all channels if there is one, which is a number less to store."""
    if least.max() <= most.min():
        return np.full_like(least, (least.max() + most.min()) >> 1)
    return (least + most) >> 1


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
    return np.clip(scaled >> form.shifts, low, high)
