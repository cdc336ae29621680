"""Requantisation by shifts and additions, for cores whose multiplications take long.

An accumulator's way to a byte is a staircase (`staircase`). Its first and last step are found by comparing, and what
lies between them is scaled by a few signed powers of two, in 32 bits, of which each channel has as many for a fraction
as its staircase leaves:

    a = min(max(acc - origin, 0), end) << fraction
    (sum of a >> s over the plus shifts - sum of a >> s over the minus shifts + offset) >> SHIFT

It is proven equal to the reference step by step. Shifts drop bits, up to one unit for each; a step of the accumulator
moves the sum by more units than that, so the form is monotone, and need only be right at each step.

Where the reference rounds halves of negative accumulators down, `offset` is less by `lowering` for these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from midge.kernels.quantized import ChannelScaling
from midge.kernels.staircase import Scaling, first_accumulators
from midge.ops.base import Rounding

SHIFT = 23
"""Leaves 256 results a bit to spare."""
NO_DIGIT = 32
"""A shift that leaves nothing of 32 bits."""
_UNIT_BITS = 31
"""Coefficients are multiples of 2^-31, the least that a shift of up to 31 gives."""
_MOST_DIGITS = 14
_NEAR_BITS = 14
"""A coefficient that is further off than this part of it fails: the highest steps would be wrong."""
_FURTHER = 1.1
_OPEN = np.int64(1) << 40


@dataclass(frozen=True, slots=True, eq=False)
class DigitScaling:
    """A proven form; arrays have an element or a row for each channel, or one for all. Results are `low` and more.

    plus, minus: shifts [channels, digits], `NO_DIGIT` where a channel needs fewer.
    """

    origins: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    lowerings: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    fractions: np.ndarray
    low: int

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All numbers."""
        own = (self.origins, self.ends, self.offsets, self.lowerings, self.plus, self.minus, self.fractions)
        return (*own, np.array([self.low]))

    @property
    def is_uniform(self) -> bool:
        """One form for all channels, without lowering."""
        return len(self.ends) == 1 and not self.is_lowered

    def digits(self, channel: int) -> list[tuple[int, str]]:
        """Shifts of a channel, each with the instruction for what it leaves."""
        rows = ((self.plus[channel], "adds"), (self.minus[channel], "subs"))
        return [(int(shift), name) for shifts, name in rows for shift in shifts if shift != NO_DIGIT]

    @property
    def counts(self) -> tuple[int, int]:
        """Plus and minus shifts of a channel."""
        return self.plus.shape[1], self.minus.shape[1]

    @property
    def digit_bytes(self) -> int:
        """The fraction and the shifts of one channel in a stream, up to a word's end."""
        return 0 if self.is_uniform else -(-(1 + sum(self.counts)) // 4) * 4

    def parameters(self, starts: np.ndarray) -> np.ndarray:
        """uint8 [channels, bytes]: what code reads of a channel whose sums start at `starts` [channels]."""
        if self.is_uniform:
            columns = [starts - self.origins]
        elif self.is_lowered:
            columns = [starts, self.origins, self.ends, self.offsets, self.lowerings]
        else:
            columns = [starts - self.origins, self.ends, self.offsets]
        columns = [np.broadcast_to(column, starts.shape) for column in columns]
        words = (np.stack(columns, axis=1) & 0xFFFF_FFFF).astype("<u4").view(np.uint8)
        if self.is_uniform:
            return words
        shifts = np.zeros((len(starts), self.digit_bytes), np.uint8)
        shifts[:, : 1 + sum(self.counts)] = np.concatenate([self.fractions[:, None], self.plus, self.minus], axis=1)
        return np.concatenate([words, shifts], axis=1)

    @property
    def is_lowered(self) -> bool:
        return bool(self.lowerings.any())

    @property
    def key(self) -> str:
        """What code that reads the numbers from a stream depends on, for a function's name."""
        if self.is_uniform:
            numbers = (self.ends[0], self.offsets[0], self.fractions[0], self.low, *self.digits(0))
            return "u" + hashlib.sha256(repr([str(number) for number in numbers]).encode()).hexdigest()[:8]
        lowered = "n" if self.is_lowered else ""
        return f"d{self.plus.shape[1]}_{self.minus.shape[1]}l{self.low}{lowered}".replace("-", "m")


def digit_scaling(scaling: ChannelScaling, lows: np.ndarray, highs: np.ndarray) -> DigitScaling | None:
    """A proven form for accumulators (biases included) within [lows, highs]; None where none is found."""
    multipliers, shifts = scaling.multipliers.astype(np.int64), scaling.shifts.astype(np.int64)
    lows, highs = lows.astype(np.int64), highs.astype(np.int64)
    if scaling.is_shared:
        multipliers, shifts = multipliers[:1], shifts[:1]
        lows, highs = lows.min(keepdims=True), highs.max(keepdims=True)
    arrays = (multipliers, shifts, lows, highs)
    return _proven(tuple(array.tobytes() for array in arrays), scaling.rounding, scaling.zero_point, scaling.low,
                   scaling.high)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """One channel's staircase: accumulators less `origin` that reach the results from `first + 1` on, one each."""

    real: float
    """The scale."""
    origin: int
    first: int
    """Result of all accumulators below the first step, less the lowest result of all."""
    places: np.ndarray

    @property
    def end(self) -> int:
        return int(self.places[-1]) if self.places.size else 0

    @property
    def fraction(self) -> int:
        """As many bits as there is room for."""
        return 32 - self.end.bit_length() if self.end else 0


@lru_cache(maxsize=256)
def _proven(arrays: tuple[bytes, ...], rounding: Rounding, zero_point: int, low: int, high: int
            ) -> DigitScaling | None:  # fmt: skip
    """The form, searched for once: multipliers, shifts, lows and highs come as bytes of int64 arrays."""
    multipliers, shifts, lows, highs = (np.frombuffer(array, np.int64) for array in arrays)
    real = multipliers * 2.0 ** (shifts - 31.0)
    thresholds = first_accumulators(Scaling(multipliers, shifts, rounding, zero_point, low, high), lows, highs)
    channels = [_steps(float(real[c]), thresholds[:, c], int(lows[c]), int(highs[c])) for c in range(len(real))]
    if any(channel.end >= 2**31 or channel.real * 2**SHIFT <= _MOST_DIGITS for channel in channels if channel.end):
        return None
    for is_lowered in (False, True):
        for total in range(1, _MOST_DIGITS + 1):
            for minus in range(total // 2, max(total // 2 - 3, -1), -1):
                found = _all_channels(channels, total - minus, minus, is_lowered=is_lowered)
                if found is not None:
                    plus_shifts, minus_shifts, offsets, lowerings = found
                    return DigitScaling(
                        np.array([channel.origin for channel in channels]), np.array([c.end for c in channels]),
                        offsets, lowerings, plus_shifts, minus_shifts, np.array([c.fraction for c in channels]), low,
                    )  # fmt: skip
    return None


def _steps(real: float, thresholds: np.ndarray, low: int, high: int) -> _Steps:
    occurs = (thresholds > low) & (thresholds <= high)
    first = int((thresholds <= low).sum())
    places = thresholds[occurs]
    origin = int(places[0]) - 1 if places.size else low
    return _Steps(real, origin, first, places - origin)


Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _all_channels(channels: Sequence[_Steps], plus: int, minus: int, *, is_lowered: bool) -> Found | None:
    """Shifts, offsets and lowerings with so many digits; None where a channel needs more."""
    plus_shifts = np.full((len(channels), plus), NO_DIGIT)
    minus_shifts = np.full((len(channels), minus), NO_DIGIT)
    offsets, lowerings = np.zeros(len(channels), np.int64), np.zeros(len(channels), np.int64)
    for number, channel in enumerate(channels):
        if not channel.places.size:
            offsets[number] = channel.first << SHIFT
            continue
        coefficient = round(channel.real * 2.0 ** (SHIFT - channel.fraction + _UNIT_BITS))
        tried = ((digits, _offset(channel, digits, is_lowered=is_lowered))
                 for digits in near_digits(coefficient, plus, minus))  # fmt: skip
        digits, found = next((pair for pair in tried if pair[1] is not None), ((), None))
        if found is None:
            return None
        offsets[number], lowerings[number] = found
        for shifts, sign in ((plus_shifts, 1), (minus_shifts, -1)):
            own = [_UNIT_BITS - power for power, digit in digits if digit == sign]
            shifts[number, : len(own)] = own
    return plus_shifts, minus_shifts, offsets, lowerings


Digits = tuple[tuple[int, int], ...]
"""(power of two, sign) each."""


def near_digits(value: int, plus: int, minus: int) -> list[Digits]:
    """Sums of at most so many signed powers of two, none above 2^31, that are near a value: the nearest first.

    Each further one is so much further off that something may come of it: where steps lie at halves, all that are very
    near fail alike.
    """
    most_error = value >> _NEAR_BITS
    found: list[tuple[int, Digits]] = []

    def search(rest: int, plus: int, minus: int, chosen: Digits) -> None:
        if abs(rest) <= most_error:
            found.append((rest, chosen))
        sign = 1 if rest > 0 else -1
        if rest == 0 or (plus if sign > 0 else minus) == 0:
            return
        power = abs(rest).bit_length() - 1
        for tried in (power, power + 1):
            if tried <= _UNIT_BITS:
                used = (plus - 1, minus) if sign > 0 else (plus, minus - 1)
                search(rest - sign * (1 << tried), *used, (*chosen, (tried, sign)))

    search(value, plus, minus, ())
    kept: list[Digits] = []
    last = {True: -1.0, False: -1.0}
    for rest, digits in sorted(found, key=lambda entry: (abs(entry[0]), len(entry[1]))):
        if abs(rest) > _FURTHER * last[rest > 0]:
            kept.append(digits)
            last[rest > 0] = abs(rest)
    return kept


def scaled(places: np.ndarray, digits: Digits, fraction: int) -> np.ndarray:
    """The sum of shifted values, without the offset."""
    total = np.zeros_like(places)
    for power, sign in digits:
        total = total + sign * ((places << fraction) >> (_UNIT_BITS - power))
    return total


def _offset(channel: _Steps, digits: Digits, *, is_lowered: bool) -> tuple[int, int] | None:
    """An offset that puts every step where it belongs, and how much less it is for negative accumulators."""
    goals = (channel.first + 1 + np.arange(channel.places.size, dtype=np.int64)) << SHIFT
    least = goals - scaled(channel.places, digits, channel.fraction)
    most = goals - 1 - scaled(channel.places - 1, digits, channel.fraction)
    if not is_lowered:
        return (int(least.max() + most.min()) >> 1, 0) if least.max() <= most.min() else None
    reaches_negative = channel.places + channel.origin < 0
    misses_negative = channel.places - 1 + channel.origin < 0
    sides = []
    for is_negative in (True, False):
        side_least = least[reaches_negative == is_negative].max(initial=-_OPEN)
        side_most = most[misses_negative == is_negative].min(initial=_OPEN)
        if side_least > side_most:
            return None
        sides.append((int(side_least), int(side_most)))
    (low_least, low_most), (least_, most_) = sides
    offset = _inside(least_, most_, _inside(low_least, low_most, 0))
    negative = _inside(low_least, min(low_most, offset), offset)
    return (offset, offset - negative) if low_least <= negative <= offset else None


def _inside(least: int, most: int, wish: int) -> int:
    """The middle of two bounds; where one is open, what is nearest to a wish."""
    if least <= -_OPEN or most >= _OPEN:
        return min(max(wish, least), most)
    return (least + most) >> 1
