"""Integer arithmetic shared by the references and the kernels (docs/numerics.md, "Fixed-point helpers").

All functions take and return NumPy int64 arrays that hold 32-bit values, unless they say otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from midge.errors import UnsupportedError
from midge.ops.base import Rounding

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def round_half_away(x: np.ndarray) -> np.ndarray:
    """C's round() on an array: to nearest, halves away from zero; exact for every finite float."""
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.copysign(whole + (magnitude - whole >= 0.5), x)


def exp_f32(x: np.ndarray) -> np.ndarray:
    """The exponential of float32 values, correctly rounded to float32."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(x.astype(np.float64)).astype(np.float32)


def wrap_int32(x: np.ndarray) -> np.ndarray:
    """The low 32 bits, as a signed number."""
    return ((np.asarray(x, np.int64) + 2**31) & 0xFFFFFFFF) - 2**31


def quantize_multiplier(real: float) -> tuple[int, int]:
    """`real` as `multiplier_q31 * 2^(shift - 31)`, the multiplier in [2^30, 2^31) (0, 0 for a vanishing factor).

    A positive shift is a left shift.
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier_q31 = math.floor(fraction * 2.0**31 + 0.5)
    if multiplier_q31 == 2**31:
        multiplier_q31 //= 2
        shift += 1
    return (0, 0) if shift < -31 else (multiplier_q31, shift)


def quantize_multipliers(reals: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """`quantize_multiplier` of each: int32 multipliers and int32 shifts."""
    pairs = [quantize_multiplier(real) for real in reals]
    return np.array([pair[0] for pair in pairs], np.int32), np.array([pair[1] for pair in pairs], np.int32)


def saturating_rounding_doubling_high_mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """`floor((a * b + 2^30) / 2^31)`; the one product that does not fit, INT32_MIN squared, saturates."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.minimum((product + 2**30) >> 31, INT32_MAX)


def rounding_divide_by_pot(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """`x / 2^exponent` to nearest, halves away from zero; 0 <= exponent <= 31."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def multiply_by_quantized_multiplier(
    x: np.ndarray, multiplier_q31: np.ndarray | int, shift: np.ndarray | int, rounding: Rounding
) -> np.ndarray:
    """`x * multiplier_q31 * 2^(shift - 31)`, rounded as `rounding` says (multipliers and shifts may be arrays)."""
    shift = np.asarray(shift, np.int64)
    if rounding is Rounding.REDUCED:
        product = np.asarray(x, np.int64) * reduced_multiplier(multiplier_q31)
        return wrap_int32((product + (np.int64(1) << (14 - shift))) >> (15 - shift))
    if rounding is Rounding.SINGLE:
        return (np.asarray(x, np.int64) * multiplier_q31 + (np.int64(1) << (30 - shift))) >> (31 - shift)
    left = wrap_int32(np.asarray(x, np.int64) << np.maximum(shift, 0))
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(left, multiplier_q31), np.maximum(-shift, 0))


def reduced_multiplier(multiplier_q31: np.ndarray | int) -> np.ndarray:
    """A multiplier of 31 bits rounded to 15: `multiplier * 2^(shift - 31)` becomes `reduced * 2^(shift - 15)`."""
    return np.minimum((np.asarray(multiplier_q31, np.int64) + (1 << 15)) >> 16, 2**15 - 1)


def multiply_by_real(x: np.ndarray, real: np.ndarray | float) -> np.ndarray:
    """`x * real` in float64, to nearest, halves away from zero: what SINGLE rounding means."""
    return round_half_away(np.asarray(x, np.float64) * real).astype(np.int64)


@lru_cache(maxsize=4096)
def single_rounding_multiplier(real: float, lowest: int, highest: int, reach: int = INT32_MAX) -> tuple[int, int]:
    """Multiplier and shift whose SINGLE form equals `multiply_by_real` once clamped to [lowest, highest].

    Equal for every accumulator of magnitude up to `reach`: both forms are monotone staircases, so it is enough that
    they reach each step at the same accumulator. The multiplier nearest to `real` nearly always does; ties and unlucky
    thresholds take a neighbour.
    """
    multiplier_q31, shift = quantize_multiplier(real)
    if multiplier_q31 == 0:
        return 0, 0
    steps = _real_steps(real, lowest, highest, reach)
    for distance in range(257):
        for candidate in (multiplier_q31 + distance, multiplier_q31 - distance):
            if 2**29 < candidate < 2**31 and _has_steps(candidate, shift, steps):
                return candidate, shift
    raise UnsupportedError(
        f"fully connected layer with the scale {real!r}", "no 32-bit multiplier gives the bits of LiteRT", "",
        "Compile with --numerics tflm, which rounds in a form that has one",
    )  # fmt: skip


def _real_steps(real: float, lowest: int, highest: int, reach: int) -> list[tuple[int, int]]:
    """For each result above the lowest: (result, smallest accumulator that gives it), as far as accumulators reach."""
    steps = []
    for result in range(lowest + 1, highest + 1):
        start = (result - 0.5) / real
        if abs(start) > reach + 2:
            continue
        acc = math.ceil(start)
        while not _rounds_below((acc - 1) * real, result):
            acc -= 1
        while _rounds_below(acc * real, result):
            acc += 1
        if -reach < acc <= reach:
            steps.append((result, acc))
    return steps


def _rounds_below(scaled: float, result: int) -> bool:
    """True where `scaled`, to nearest with halves away from zero, is less than `result`."""
    return scaled < result - 0.5 if result > 0 else scaled <= result - 0.5


def _has_steps(multiplier_q31: int, shift: int, steps: Sequence[tuple[int, int]]) -> bool:
    """True where the SINGLE form reaches each result exactly at its accumulator."""
    half = 1 << (30 - shift)
    bits = 31 - shift

    def scaled(acc: int) -> int:
        return (acc * multiplier_q31 + half) >> bits

    return all(scaled(acc) >= result > scaled(acc - 1) for result, acc in steps)


def exp_on_negative_values(a_q5_26: np.ndarray) -> np.ndarray:
    """exp(a) for a <= 0 in Q5.26, as Q0.31 (gemmlowp's algorithm: a quarter-unit polynomial and a barrel shifter)."""
    a = np.asarray(a_q5_26, np.int64)
    quarter = np.int64(1 << 24)
    remainder = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(remainder << 5)
    left_over = remainder - a
    for exponent, multiplier_q31 in EXP_STEPS:
        factor = saturating_rounding_doubling_high_mul(result, multiplier_q31)
        result = np.where(left_over & (1 << (26 + exponent)), factor, result)
    return np.where(a == 0, INT32_MAX, result)


EXP_STEPS = (
    (-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535), (3, 720401), (4, 242),
)  # fmt: skip
"""exp(-2^exponent) in Q0.31."""


def _exp_between_minus_quarter_and_zero(a_q31: np.ndarray) -> np.ndarray:
    """Taylor's polynomial of degree 4 around -1/8, in Q0.31."""
    mul = saturating_rounding_doubling_high_mul
    x = a_q31 + (1 << 28)
    x2 = mul(x, x)
    x3 = mul(x2, x)
    x4 = mul(x2, x2)
    x4_over_4 = rounding_divide_by_pot(x4, 2)
    polynomial = rounding_divide_by_pot(mul(x4_over_4 + x3, 715827883) + x2, 1)
    return 1895147668 + mul(np.asarray(1895147668), x + polynomial)


def one_over_one_plus_x(x_q31: np.ndarray) -> np.ndarray:
    """1 / (1 + x) for x in [0, 1), both Q0.31: three Newton-Raphson steps on the halved denominator."""
    mul = saturating_rounding_doubling_high_mul
    half_denominator = (np.asarray(x_q31, np.int64) + INT32_MAX + 1) >> 1
    guess_q29 = 1515870810 + mul(half_denominator, -1010580540)
    for _ in range(3):
        error_q29 = (1 << 29) - mul(half_denominator, guess_q29)
        guess_q29 = guess_q29 + saturate_int32(mul(guess_q29, error_q29) << 2)
    return saturate_int32(guess_q29 << 1)


def saturate_int32(x: np.ndarray) -> np.ndarray:
    return np.clip(x, INT32_MIN, INT32_MAX)
