"""Functions of int16 values by tables and straight lines between entries (docs/numerics.md, "Tables of int16")."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from midge.ops.fixed_point import round_half_away

LINES = 512
"""Pieces of a table of `sampled_table`: 128 neighbouring values share one."""

SIGMOID_ENTRIES = 256
"""Entries of `sigmoid_table`; past the last one functions stay at their limit."""


@cache
def sigmoid_table() -> np.ndarray:
    """uint16 [256]: entry i is 1 / (1 + exp(-i / 24)) in Q0.16; the last one the largest value.

    Each entry is moved by half of what the middle of the line to the next one would be wrong by. These are the values
    of the table that LiteRT's and CMSIS-NN's kernels have (read out through LiteRT's tanh).
    """
    exact, middle = (65536.0 / (1.0 + np.exp(-(np.arange(SIGMOID_ENTRIES + 1) + half) / 24.0)) for half in (0.0, 0.5))
    missing = middle[:-1] - (exact[:-1] + exact[1:]) / 2.0
    table = np.floor(exact[:-1] + missing / 2.0 + 0.5)
    table[-1] = 65535
    return table.astype(np.uint16)


def input_factor(scale: float, doubled: bool) -> tuple[int, int]:
    """(factor, right shift): `x * factor / 2^shift` is the input in units of 1 / 12288, that is, 512 to an entry.

    Scales that are powers of two have shift 0: 2^-12, and with `doubled` (tanh) 2^-11 too.
    """
    exponent = float(np.log2(scale))
    if exponent in ((-12.0, -11.0) if doubled else (-12.0,)):
        return 3 << (int(exponent) + 12), 0
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    return int(multiplier), shift


def logistic(x: np.ndarray, scale: float) -> np.ndarray:
    """1 / (1 + exp(-x * scale)) in Q0.15, int64."""
    position = _scaled(x, scale, doubled=False)
    result = _between_entries(np.abs(position), 9, 0x7FFF << 10)
    return np.where(position >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1) >> 10


def tanh(x: np.ndarray, scale: float) -> np.ndarray:
    """tanh(x * scale) in Q0.15, int64: 2 / (1 + exp(-2x)) - 1."""
    position = _scaled(x, scale, doubled=True)
    result = _between_entries(np.abs(position), 8, 0xFFFF << 8)
    return np.where(position >= 0, result - (1 << 23) + (1 << 7), (1 << 23) - result + (1 << 7) - 1) >> 8


def _scaled(x: np.ndarray, scale: float, *, doubled: bool) -> np.ndarray:
    factor, shift = input_factor(scale, doubled)
    return (x.astype(np.int64) * factor + (1 << shift >> 1)) >> shift


def _between_entries(magnitude: np.ndarray, bits: int, limit: int) -> np.ndarray:
    """The table at `magnitude / 2^bits` entries, times 2^bits; `limit` past the last one."""
    table = sigmoid_table().astype(np.int64)
    entry = np.minimum(magnitude >> bits, SIGMOID_ENTRIES - 2)
    line = (table[entry] << bits) + (magnitude & ((1 << bits) - 1)) * (table[entry + 1] - table[entry])
    return np.where(magnitude >> bits >= SIGMOID_ENTRIES - 1, limit, line)


def sampled_table(function: Callable[[np.ndarray], np.ndarray], input_scale: float, input_zero_point: int,
                  output_scale: float) -> np.ndarray:  # fmt: skip
    """int16 [513] for `looked_up`: a float32 function of int16 inputs, with results of zero point 0.

    Each entry is moved by half of what the line's middle would be wrong by.
    """
    one = np.float32
    scale, out = one(input_scale), one(output_scale)
    first, last = scale * one(-32768 - input_zero_point), scale * one(32767 - input_zero_point)
    lowest, highest = out * one(-32768), out * one(32767)
    step = (last - first) / one(LINES)
    inverse = one(65536.0) / (highest - lowest)
    places = first + np.arange(LINES).astype(np.float32) * step
    ends = first + np.arange(1, LINES + 1).astype(np.float32) * step
    sample = _whole(function(places) * inverse)
    drawn = _whole((function(ends) * inverse + sample) / one(2))
    middle = _whole(function(places + step / one(2)) * inverse)
    moved = sample - _whole((drawn - middle) / one(2))
    final = _whole(function(np.array([last], np.float32)) * inverse)
    return np.clip(np.concatenate([moved, final]), -32768, 32767).astype(np.int16)


def _whole(x: np.ndarray) -> np.ndarray:
    return round_half_away(x.astype(np.float32)).astype(np.float32)


def looked_up(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The table's lines at int16 values; int64."""
    x, wide = np.asarray(x, np.int64), table.astype(np.int64)
    line = 256 + (x >> 7)
    return wide[line] + (((wide[line + 1] - wide[line]) * (x & 0x7F) + 64) >> 7)
