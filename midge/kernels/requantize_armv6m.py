"""From accumulators to bytes on Armv6-M, whose only multiplication keeps the low 32 bits.

The form searched for, and proven equal to the reference step by step (as `staircase` explains):

    (acc * coarse + ((acc >> a) * fine >> b) + offset [- lowering where acc < 0]) >> shift, clamped to bytes

`coarse + fine / 2^(a + b)` stands for the real scale times 2^shift. `a`, `b` and `shift` are shared by all channels.
Results are `q + 128`, so that one clamp serves all. Where accumulators reach far beyond the results' range, the
multipliers would have too few bits: then `origin` is subtracted first, and what is not within `window_bits` of it
saturates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from midge.ir.types import DType
from midge.kernels.assembly_armv6m import ThumbAssembly
from midge.kernels.base import Layout
from midge.kernels.quantized import ChannelScaling
from midge.kernels.staircase import Pair, Scaling, first_accumulators
from midge.ops.base import Rounding

_TRIED = tuple(sign * distance for distance in range(33) for sign in ((1, -1) if distance else (1,)))
"""How far from the nearest one fine multipliers are tried."""
_PRESHIFTS = (2, 3, 1, 4, 0, 5, 6, 7, 8)
EXCESS = 128
_FAR = np.int64(2**40)


@dataclass(frozen=True, slots=True, eq=False)
class Requantization:
    """A proven form; arrays have an element for each channel."""

    coarse: np.ndarray
    fine: np.ndarray
    offsets: np.ndarray
    lowerings: np.ndarray | None
    preshift: int
    fine_shift: int
    shift: int
    origins: np.ndarray | None
    window_bits: int
    low: int
    high: int
    """Clamp of q + 128."""
    layout: Layout

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        lowering = "" if self.lowerings is None else "n"
        window = "" if self.origins is None else f"w{self.window_bits}"
        clamp = "" if (self.low, self.high) == (0, 255) else f"l{self.low}u{self.high}"
        stored = "" if self.layout.excess else "q"
        return f"r{self.preshift}_{self.fine_shift}_{self.shift}{lowering}{window}{clamp}{stored}"

    @property
    def parameters(self) -> np.ndarray:
        """int32 [channels, 3 to 5], in the order of loading."""
        columns = [self.coarse, self.fine, self.offsets]
        columns += [extra for extra in (self.lowerings, self.origins) if extra is not None]
        return np.stack(columns, axis=1).astype(np.int32)

    @property
    def is_plain(self) -> bool:
        """True where `apply` is all there is to do."""
        return self.lowerings is None and self.origins is None

    @property
    def is_uniform(self) -> bool:
        """True where it is, with the same parameters for all channels."""
        return self.is_plain and bool((self.parameters == self.parameters[:1]).all())

    def scale(self, code: ThumbAssembly, acc: str, stream: str, spares: tuple[str, str, str, str]) -> None:
        """Instructions that load a channel's parameters and turn its accumulator into the byte to store.

        `spares` are low registers in ascending order.
        """
        _, _, offset, spare = spares
        loaded = spares if self.lowerings is not None else spares[:3]
        code.op(f"ldmia {{{stream}}}!, {{{{" + ", ".join(f"{{{name}}}" for name in loaded) + "}}")
        if self.lowerings is not None:
            code.op(f"cmp {{{acc}}}, #0")
            with code.skip("bge"):
                code.op(f"subs {{{offset}}}, {{{offset}}}, {{{spare}}}", "halves of negative sums go down")
        if self.origins is None:
            self.apply(code, acc, spares)
            return
        code.op(f"ldmia {{{stream}}}!, {{{{{{{spare}}}}}}}", "origin")
        code.op(f"subs {{{acc}}}, {{{acc}}}, {{{spare}}}")
        code.op(f"lsrs {{{spare}}}, {{{acc}}}, #{self.window_bits}")
        saturate = [f"asrs {{{acc}}}, {{{acc}}}, #31", f"mvns {{{acc}}}, {{{acc}}}", f"uxtb {{{acc}}}, {{{acc}}}"]
        with code.choice("bne", saturate):
            self._multiply(code, acc, spares)
        self._clamp(code, acc, spare)

    def apply(self, code: ThumbAssembly, acc: str, registers: tuple[str, str, str, str]) -> None:
        """The accumulator to the byte to store, with coarse, fine and offset in registers, and a spare one."""
        self._multiply(code, acc, registers)
        self._clamp(code, acc, registers[3])

    def _multiply(self, code: ThumbAssembly, acc: str, registers: tuple[str, str, str, str]) -> None:
        coarse, fine, offset, spare = registers
        shifted = f"asrs {{{spare}}}, {{{acc}}}, #{self.preshift}" if self.preshift else f"movs {{{spare}}}, {{{acc}}}"
        code.ops([shifted, f"muls {{{spare}}}, {{{fine}}}, {{{spare}}}", f"muls {{{acc}}}, {{{coarse}}}, {{{acc}}}",
                  f"asrs {{{spare}}}, {{{spare}}}, #{self.fine_shift}", f"adds {{{acc}}}, {{{acc}}}, {{{offset}}}",
                  f"adds {{{acc}}}, {{{acc}}}, {{{spare}}}", f"asrs {{{acc}}}, {{{acc}}}, #{self.shift}"])  # fmt: skip

    def _clamp(self, code: ThumbAssembly, acc: str, spare: str) -> None:
        """To the bounds, then to q where that is stored."""
        if (self.low, self.high) == (0, 255):
            code.ops([f"uxtb {{{spare}}}, {{{acc}}}", f"cmp {{{spare}}}, {{{acc}}}"])
            with code.skip("beq"):
                code.op(f"asrs {{{acc}}}, {{{acc}}}, #31")
                code.op(f"mvns {{{acc}}}, {{{acc}}}", "0 or 255")
        else:
            for bound, branch in ((self.low, "bge"), (self.high, "ble")):
                code.op(f"cmp {{{acc}}}, #{bound}")
                with code.skip(branch):
                    code.op(f"movs {{{acc}}}, #{bound}")
        if self.layout.excess == 0:
            code.op(f"subs {{{acc}}}, #{EXCESS}")


def requantization(scaling: ChannelScaling, lows: np.ndarray, highs: np.ndarray, layout: Layout
                   ) -> Requantization | None:  # fmt: skip
    """A proven form for accumulators (biases included) within [lows, highs]; None where none is found."""
    multipliers, shifts = scaling.multipliers.astype(np.int64), scaling.shifts.astype(np.int64)
    lows, highs = lows.astype(np.int64), highs.astype(np.int64)
    if scaling.is_shared:
        multipliers, shifts = multipliers[:1], shifts[:1]
        lows, highs = lows.min(keepdims=True), highs.max(keepdims=True)
    form = _proven(
        tuple(array.tobytes() for array in (multipliers, shifts, lows, highs)),
        scaling.rounding, scaling.zero_point, scaling.low, scaling.high,
    )  # fmt: skip
    if form is None:
        return None
    count = len(scaling.multipliers)

    def spread(array: np.ndarray) -> np.ndarray:
        return np.broadcast_to(array, (count,))

    return replace(
        form, coarse=spread(form.coarse), fine=spread(form.fine), offsets=spread(form.offsets),
        lowerings=None if form.lowerings is None else spread(form.lowerings),
        origins=None if form.origins is None else spread(form.origins), layout=layout,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _proven(arrays: tuple[bytes, ...], rounding: Rounding, zero_point: int, low: int, high: int
            ) -> Requantization | None:  # fmt: skip
    """The form, searched for once: multipliers, shifts, lows and highs come as bytes of int64 arrays."""
    multipliers, shifts, lows, highs = (np.frombuffer(array, np.int64) for array in arrays)
    real = multipliers * 2.0 ** (shifts - 31.0)
    if low == high or not real.min() > 0:
        return None
    steps = first_accumulators(Scaling(multipliers, shifts, rounding, zero_point, low, high), lows, highs)
    occur = (steps <= highs, steps > lows)
    results = np.arange(low + 1, high + 1, dtype=np.int64)[:, None] + EXCESS
    reach = np.maximum(np.abs(lows), np.abs(highs)) + 1
    origins = np.where(steps[0] > lows, steps[0] - 1, lows)
    ends = np.where(steps[-1] <= highs, steps[-1], highs + 1)
    window_bits = max(int(end - origin).bit_length() for end, origin in zip(ends, origins, strict=True))
    whole = _Problem(real, reach, steps, occur, results, np.zeros(len(real), np.int64))
    window = _Problem(real, np.full(len(real), 1 << window_bits), steps, occur, results, origins)
    for problem, is_window in ((whole, False), (window, True)):
        if not problem.is_sensible:
            continue
        for preshift in _PRESHIFTS:
            found = problem.solve(preshift)
            if found is not None:
                return Requantization(
                    *found, preshift, problem.fine_shift, problem.shift, origins if is_window else None, window_bits,
                    low + EXCESS, high + EXCESS, Layout(DType.UINT8, excess=EXCESS),
                )  # fmt: skip
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    real: np.ndarray
    reach: np.ndarray
    """No accumulator of a channel is so large."""
    steps: np.ndarray
    """[results, channels]: the first accumulator that reaches a result; the lowest of all where all do, one past the
    highest where none does."""
    occur: Pair
    """bool [results, channels]: whether an accumulator reaches a result, and whether one misses it."""
    results: np.ndarray
    origins: np.ndarray
    """What is subtracted from accumulators before they are scaled."""

    @property
    def shift(self) -> int:
        """The longest that keeps the sum within 31 bits."""
        most = float((self.reach * self.real).max()) + 2 * EXCESS + 2
        return min(24, int(np.floor(30.9 - np.log2(most))))

    @property
    def is_sensible(self) -> bool:
        """False where a shift would leave what an instruction can take."""
        return self.shift >= 1 and 1 <= self.fine_shift <= 31

    @property
    def fine_shift(self) -> int:
        return int(np.floor(31 - np.log2(float(self.reach.max()))))

    def solve(self, preshift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None] | None:
        """Coarse and fine multipliers, offsets, and lowerings where there have to be any."""
        scaled = self.real * 2.0**self.shift
        bits = preshift + self.fine_shift
        nearest = np.round(scaled * 2.0**bits).astype(np.int64)
        options = []
        for distance in _TRIED:
            multiplier = nearest + distance
            coarse, fine = multiplier >> bits, multiplier & ((1 << bits) - 1)
            options.append((coarse, fine, *self._offsets(coarse, fine, preshift)))
        for is_lowered in (False, True):
            found = self._choose(options, is_lowered=is_lowered)
            if found is not None:
                return found
        return None

    def _offsets(self, coarse: np.ndarray, fine: np.ndarray, preshift: int) -> tuple[np.ndarray, ...]:
        """Bounds of the offset by the steps of accumulators that are not negative, and by those of negative ones."""

        def scaled(acc: np.ndarray) -> np.ndarray:
            moved = acc - self.origins
            return moved * coarse + (((moved >> preshift) * fine) >> self.fine_shift)

        goal = self.results << self.shift
        least, most = goal - scaled(self.steps), goal - 1 - scaled(self.steps - 1)
        bounds = []
        for is_negative in (False, True):
            reaches = self.occur[0] & ((self.steps < 0) == is_negative)
            misses = self.occur[1] & ((self.steps - 1 < 0) == is_negative)
            bounds += [np.where(reaches, least, -_FAR).max(0), np.where(misses, most, _FAR).min(0)]
        return tuple(bounds)

    def _choose(self, options: Sequence[tuple[np.ndarray, ...]], *, is_lowered: bool
                ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None] | None:  # fmt: skip
        """The first option of each channel that has offsets; None where a channel has none."""
        chosen = [np.zeros(len(self.real), np.int64) for _ in range(4)]
        is_open = np.ones(len(self.real), bool)
        for coarse, fine, least, most, negative_least, negative_most in options:
            if is_lowered:
                low, high = least, most
                offset, negative = _middles(least, most, negative_least, negative_most)
                good = is_open & (negative_least <= negative) & (negative <= negative_most) & (offset >= negative)
            else:
                low, high = np.maximum(least, negative_least), np.minimum(most, negative_most)
                offset = _middle(low, high, np.int64(0))
                good, negative = is_open, offset
            lowering = offset - negative
            good = good & (low <= high) & (offset >= low) & (offset <= high)
            # Both multipliers and the lowering not negative: the form is a monotone staircase, like the reference.
            good &= (coarse >= 0) & (self.reach * (coarse + 2) + np.abs(offset) + np.abs(lowering) < 2**31)
            for array, value in zip(chosen, (coarse, fine, offset, lowering), strict=True):
                array[good] = value[good]
            is_open &= ~good
            if not is_open.any():
                return chosen[0], chosen[1], chosen[2], chosen[3] if is_lowered else None
        return None


def _middles(least: np.ndarray, most: np.ndarray, negative_least: np.ndarray, negative_most: np.ndarray
             ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Offsets where accumulators are not negative, and where they are; near each other where a side is open."""
    offset = _middle(least, most, np.int64(0))
    negative = _middle(negative_least, negative_most, offset)
    return _middle(least, most, negative), negative


def _middle(low: np.ndarray, high: np.ndarray, wish: np.ndarray | np.int64) -> np.ndarray:
    """Between two bounds; the nearest to a wish where one of them is open."""
    is_open = (low <= -_FAR) | (high >= _FAR)
    return np.where(is_open, np.clip(wish, low, high), (low + high) >> 1)
