"""The integer helpers against plain Python integers and real arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midge.errors import UnsupportedError
from midge.ops.base import Rounding
from midge.ops.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    exp_on_negative_values,
    multiply_by_quantized_multiplier,
    multiply_by_real,
    one_over_one_plus_x,
    quantize_multiplier,
    round_half_away,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
    single_rounding_multiplier,
    wrap_int32,
)

EDGES = [INT32_MIN, INT32_MIN + 1, -(2**30), -3, -2, -1, 0, 1, 2, 3, 2**30, INT32_MAX - 1, INT32_MAX]


def test_rounding_goes_away_from_zero_on_halves_and_only_there():
    x = np.array([0.5, -0.5, 1.5, -2.5, 0.49999999999999994, -0.49999999999999994, 4503599627370497.0])
    assert round_half_away(x).tolist() == [1.0, -1.0, 2.0, -3.0, 0.0, -0.0, 4503599627370497.0]
    assert round_half_away(np.float32([0.49999997])).tolist() == [0.0]


def test_high_mul_is_the_rounded_doubled_high_word():
    for a in EDGES:
        for b in EDGES:
            expected = min((a * b + 2**30) // 2**31, INT32_MAX)
            assert int(saturating_rounding_doubling_high_mul(np.array(a), b)) == expected


@pytest.mark.parametrize("exponent", [0, 1, 2, 7, 30, 31])
def test_divide_by_power_of_two_rounds_halves_away_from_zero(exponent: int):
    for x in [*EDGES, 5, -5, 64, -64, 65, -65]:
        quotient = abs(x) / 2**exponent
        expected = int(math.copysign(math.floor(quotient + 0.5), x))
        assert int(rounding_divide_by_pot(np.array(x), exponent)) == expected


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)), (1.0, (2**30, 1)), (0.5, (2**30, 0)), (0.25, (2**30, -1)), (3.0, (3 * 2**29, 2)),
        (1.0 - 2.0**-40, (2**30, 1)), (2.0**-33, (0, 0)), (2.0**-32, (2**30, -31)),
    ],
)  # fmt: skip
def test_quantize_multiplier(real: float, expected: tuple[int, int]):
    assert quantize_multiplier(real) == expected


def test_both_roundings_differ_only_where_two_roundings_do():
    multiplier, shift = quantize_multiplier(0.25)
    x = np.array([1, 2, 3, -1, -2, -3, 6, -6])
    single = multiply_by_quantized_multiplier(x, multiplier, shift, Rounding.SINGLE)
    double = multiply_by_quantized_multiplier(x, multiplier, shift, Rounding.DOUBLE)
    assert single.tolist() == [0, 1, 1, 0, 0, -1, 2, -1]
    assert double.tolist() == [1, 1, 1, 0, -1, -1, 2, -2]


def test_left_shifts_wrap_as_32_bit_integers():
    assert wrap_int32(np.array([2**31, -(2**31) - 1])).tolist() == [INT32_MIN, INT32_MAX]
    multiplier, shift = quantize_multiplier(3.0)
    assert multiply_by_quantized_multiplier(np.array([7]), multiplier, shift, Rounding.DOUBLE).tolist() == [21]


def test_proven_multipliers_equal_the_real_definition_everywhere_it_matters():
    rng = np.random.default_rng(5)
    reals = [2.0**-k for k in range(1, 14)] + [0.75, 3 / 2**9, *np.exp(rng.uniform(-9, 0.5, 60)).tolist()]
    for real in reals:
        multiplier, shift = single_rounding_multiplier(real, -255, 255)
        steps = np.round((np.arange(-256, 257) + 0.5) / real).astype(np.int64)
        near = np.concatenate([steps + offset for offset in range(-3, 4)])
        acc = np.clip(np.concatenate([near, rng.integers(-(2**30), 2**30, 500), np.array(EDGES)]), INT32_MIN, INT32_MAX)
        kernel = multiply_by_quantized_multiplier(acc, multiplier, shift, Rounding.SINGLE)
        assert np.array_equal(np.clip(kernel, -255, 255), np.clip(multiply_by_real(acc, real), -255, 255)), real


def test_no_multiplier_is_refused_unless_accumulators_stay_small():
    real = next(real for real in np.exp2(np.linspace(-18, -17.9, 50)).tolist() if not has_multiplier(real))
    multiplier, shift = single_rounding_multiplier(real, -128, 127, 2**20)
    acc = np.arange(-(2**20), 2**20, 97)
    kernel = multiply_by_quantized_multiplier(acc, multiplier, shift, Rounding.SINGLE)
    assert np.array_equal(kernel, multiply_by_real(acc, real))


def has_multiplier(real: float) -> bool:
    try:
        single_rounding_multiplier(real, -128, 127)
    except UnsupportedError:
        return False
    return True


def test_exponential_of_negative_values():
    a = -(np.arange(0, 2**31, 997_003) >> 0)
    expected = np.exp(a / 2.0**26)
    assert np.abs(exp_on_negative_values(a) / 2.0**31 - expected).max() < 5e-7
    assert int(exp_on_negative_values(np.array(0))) == INT32_MAX


def test_reciprocal():
    x = np.arange(0, 2**31, 1_000_003)
    assert np.abs(one_over_one_plus_x(x) / 2.0**31 - 1 / (1 + x / 2.0**31)).max() < 1e-8
