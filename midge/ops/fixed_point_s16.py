"""Sigmoid and hyperbolic tangent in 16 bits (docs/numerics.md, "LSTM"): gemmlowp's fixed-point functions on int16.

All functions take and return NumPy int64 arrays that hold 16-bit values.
"""

from __future__ import annotations

import numpy as np

from midge.ops.fixed_point import EXP_STEPS, rounding_divide_by_pot

ONE = 2**15 - 1


def mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """`a * b / 2^15` to nearest, ties upwards."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(np.sign(nudged) * (np.abs(nudged) >> 15), ONE)


def sigmoid(x_q3_12: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) as Q0.15."""
    x = np.asarray(x_q3_12, np.int64)
    positive = np.minimum(_reciprocal(exp_on_negative_values(np.maximum(-np.abs(x), -(2**15)), 3)) << 1, ONE)
    return np.where(x == 0, 1 << 14, np.where(x > 0, positive, ONE - positive))


def tanh(x: np.ndarray, integer_bits: int) -> np.ndarray:
    """tanh of x in Q(integer_bits) as Q0.15."""
    x = np.asarray(x, np.int64)
    reciprocal = _reciprocal(exp_on_negative_values(np.maximum(-np.abs(x), -(2**15)), integer_bits + 1))
    positive = _saturated_left(reciprocal - (1 << 13), 2)
    return np.where(x == 0, 0, np.where(x > 0, positive, -positive))


def exp_on_negative_values(a: np.ndarray, integer_bits: int) -> np.ndarray:
    """exp(a) for a <= 0 in Q(integer_bits), as Q0.15."""
    fraction_bits = 15 - integer_bits
    quarter = np.int64(1 << (fraction_bits - 2))
    remainder = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(remainder << integer_bits)
    left_over = remainder - a
    for exponent, multiplier_q31 in EXP_STEPS:
        if exponent < integer_bits:
            factor = mul(result, narrowed(multiplier_q31))
            result = np.where(left_over & (1 << (fraction_bits + exponent)), factor, result)
    return np.where(a == 0, ONE, result)


def narrowed(value_q31: int) -> int:
    """A constant in Q0.31 as Q0.15."""
    return int(rounding_divide_by_pot(np.asarray(value_q31, np.int64), 16))


def _exp_between_minus_quarter_and_zero(a: np.ndarray) -> np.ndarray:
    x = a + (1 << 12)
    x2 = mul(x, x)
    x3 = mul(x2, x)
    x4 = mul(x2, x2)
    polynomial = rounding_divide_by_pot(mul(rounding_divide_by_pot(x4, 2) + x3, narrowed(715827883)) + x2, 1)
    constant = narrowed(1895147668)
    return constant + mul(x + polynomial, constant)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    """2 / (1 + x) for x in [0, 1), Q0.15, as Q2.13: three Newton-Raphson steps on the halved denominator."""
    half_denominator = (x + ONE + 1) >> 1
    guess = narrowed(1515870810) + mul(half_denominator, narrowed(-1010580540))
    for _ in range(3):
        error = (1 << 13) - mul(half_denominator, guess)
        guess = guess + _saturated_left(mul(guess, error), 2)
    return guess


def _saturated_left(x: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(x << bits, -(2**15), ONE)
