"""SINGLE rounding to int16 without float64: a multiplier of 64 bits that is proven to give the same results.

The definition (docs/numerics.md, "Fully connected") is the product of an accumulator and a real number in float64,
rounded half away from zero. The form is

    (acc * high + (acc * low >> 32) + (half << 32)) >> 32 + shift,   multiplier = high * 2^32 + low, low signed

which differs from the exact product by less than two units of 2^-(32 + shift); float64 differs from it by its rounding.
So they agree unless a product comes nearer than both to a half. Whether any does, for the accumulators that can occur,
is a question about multiples of a number modulo another, which Euclid's algorithm answers. Where one does (scales
that are powers of two have exact halves), all steps of the staircase are compared.
"""

from __future__ import annotations

import math

import numpy as np

from midge.ops.fixed_point import multiply_by_real

_LOWEST, _HIGHEST = -(2**15), 2**15 - 1
_TRIED = (0, *(sign << power for power in range(28) for sign in (1, -1)))
"""Distances from the nearest multiplier: a larger one sends negative halves down and positive ones up, and does so with
what only float64's rounding makes a half."""


def exact_multiplier(real: float, low: int, high: int, shift: int) -> int | None:
    """The multiplier, about `real * 2^(64 + shift)`, for accumulators in [low, high]; None if there is none.

    `real * 2^shift` is less than a half, and accumulators have 32 bits.
    """
    numerator, denominator = real.as_integer_ratio()
    nearest = ((numerator << (65 + shift)) + denominator) // (2 * denominator)
    reach = math.ceil((_HIGHEST + 2) / real)
    if not _comes_near_half(real, max(low, -reach), min(high, reach), _error(shift)):
        return nearest
    return next((nearest + by for by in _TRIED if _has_steps(nearest + by, real, low, high, shift)), None)


def _error(shift: int) -> float:
    """More than both can be wrong by, for results that the clamp does not take: 3 units, and float64's rounding."""
    return 3 * 2.0 ** -(32 + shift) + 2.0**-37


def _comes_near_half(real: float, low: int, high: int, distance: float) -> bool:
    """True where `acc * real` is within a distance of a number and a half for any accumulator in [low, high]."""
    numerator, denominator = real.as_integer_ratio()
    # 2 * acc * numerator - denominator is a multiple of 2 * denominator where the product is a number and a half.
    modulus = 2 * denominator
    near = math.ceil(distance * modulus)
    first = (2 * low * numerator - denominator + near) % modulus
    start = -first % modulus
    if start + 2 * near >= modulus:
        return True
    found = _first_multiple(2 * numerator % modulus, modulus, start, start + 2 * near)
    return found is not None and found <= high - low


def _first_multiple(step: int, modulus: int, low: int, high: int) -> int | None:
    """The smallest x >= 0 with `low <= step * x % modulus <= high`, by Euclid's algorithm.

    0 <= low <= high < modulus, 0 <= step < modulus.
    """
    if low == 0:
        return 0
    if step == 0:
        return None
    turn = -(-low // step)
    if step * turn <= high:
        return turn
    # No multiple before the first wrap: count wraps y, for which modulus * y mod step must fall between.
    wraps = _first_multiple(modulus % step, step, -high % step, -low % step)
    return None if wraps is None else -(-(low + modulus * wraps) // step)


def _has_steps(multiplier: int, real: float, low: int, high: int, shift: int) -> bool:
    """True where the form reaches each result at the same accumulator as the definition, within [low, high]."""
    results = np.arange(_LOWEST + 1, _HIGHEST + 1)
    guess = np.ceil((results - 0.5) / real)
    is_near = np.abs(guess) < 2.0**32
    results, guess = results[is_near], guess[is_near].astype(np.int64)
    candidates = guess + np.arange(-2, 3)[:, None]
    reached = multiply_by_real(candidates, real) >= results
    first = candidates[0] + np.argmax(reached, axis=0)
    if not reached.any(axis=0).all() or reached[0].any():
        return False
    occurs, misses = (first >= low) & (first <= high), (first - 1 >= low) & (first - 1 <= high)
    reaches = evaluate(multiplier, first[occurs], shift) >= results[occurs]
    return bool(reaches.all() and (evaluate(multiplier, first[misses] - 1, shift) < results[misses]).all())


def evaluate(multiplier: int, acc: np.ndarray, shift: int) -> np.ndarray:
    """What the form gives, without the clamp."""
    whole, fraction = divmod(multiplier + 2**31, 2**32)
    wide = np.asarray(acc, np.int64)
    upper = (wide * whole + ((wide * (fraction - 2**31)) >> 32)) >> 32
    return (upper + (1 << (shift - 1))) >> shift
