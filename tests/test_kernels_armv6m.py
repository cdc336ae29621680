"""Kernels of Armv6-M: packed weights and proven requantisation against plain arithmetic, and all cases as firmware."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_trials import batches, trials

from midge.build import build
from midge.emulate import emulate, emulate_many
from midge.kernels import kernel_files
from midge.kernels.dots_armv6m import decoding_order, pack
from midge.kernels.layouts import EXCESS
from midge.kernels.packing_armv6m import Coding, coding_for, needed_bits
from midge.kernels.quantized import ChannelScaling
from midge.kernels.requantize_armv6m import Requantization, requantization
from midge.kernels.staircase import Scaling
from midge.ops.base import Rounding
from midge.targets import core_board

BOARD = core_board("cortex-m0plus")
OPERATORS = sorted({op for op, isa in kernel_files() if isa == "armv6m"})
BATCH = 8
"""The planner takes long over many networks side by side."""


def decode(coding: Coding, words: np.ndarray) -> np.ndarray:
    """Sums of channels from sums of words: field by field, as the emitted code does."""
    found = np.zeros(coding.channels, np.int64)
    words = words.astype(np.int64) & 0xFFFF_FFFF
    first = 0
    for chain in coding.chains:
        known, known_bits = 0, 0
        for word in range(chain.words):
            own, before, after = chain.fields(word)
            value = (int(words[first + word]) - (known << (own - known_bits))) % 2**32
            low = _signed(value, own)
            found[chain.channels[2 * word]] = low
            value = (value - low) % 2**32
            if before:
                part = _signed(value, own + before)
                found[chain.channels[2 * word - 1]] = known + (part >> (own - known_bits))
                value = (value - part) % 2**32
            known, known_bits = value >> (own + before), after
        first += chain.words
    return found


def _signed(value: int, bits: int) -> int:
    low = value % (1 << bits)
    return low - (1 << bits) if low >> (bits - 1) else low


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("bits", (9, 15, 18, 19))
def test_packed_sums_decode_at_the_ends_of_their_ranges(channels: int, bits: int) -> None:
    coding = coding_for([bits] * channels)
    assert coding is not None and coding.channels == channels
    assert sorted(decoding_order(coding)) == list(range(channels))
    rng = np.random.default_rng(bits)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0, -1, 1])
    for _ in range(200):
        sums = rng.choice(ends, channels)
        assert decode(coding, coding.encode(sums)).tolist() == sums.tolist()


def test_unequal_widths_are_packed() -> None:
    rng = np.random.default_rng(1)
    packed = 0
    for _ in range(300):
        needs = rng.integers(4, 27, 8).tolist()
        coding = coding_for(needs)
        if coding is None:
            continue
        packed += 1
        sums = np.array([rng.choice((-(2 ** (need - 1)), 2 ** (need - 1) - 1)) for need in needs])
        assert decode(coding, coding.encode(sums)).tolist() == sums.tolist()
    assert packed > 50


@pytest.mark.parametrize("taps", (1, 9, 64, 200))
def test_segments_of_packed_weights_give_all_products(taps: int) -> None:
    rng = np.random.default_rng(taps)
    weights = rng.integers(-64, 65, (19, taps)).astype(np.int64)
    totals = rng.integers(-30000, 30000, 19)
    packed = pack(weights, totals)
    assert packed is not None and packed.full is not None and packed.rest is not None
    groups = (slice(0, 8), slice(8, 16), slice(16, 19))
    for x in (np.zeros(taps, np.int64), np.full(taps, 255), rng.integers(0, 256, taps), 255 * (weights[3] > 0)):
        sums = np.zeros(19, np.int64)
        first = 0
        for start, end in zip(packed.segments.starts, packed.segments.ends, strict=True):
            for group, coding in zip(groups, (packed.full, packed.full, packed.rest), strict=True):
                words = coding.encode(start[group]).astype(np.int64)
                words += (coding.encode(weights[group, first:end].T).astype(np.int64) * x[first:end, None]).sum(0)
                sums[group] += decode(coding, words)
            first = end
        assert sums.tolist() == (totals + weights @ x).tolist()


def test_needed_bits() -> None:
    assert needed_bits(np.array([0, -1, -128, -129, -5]), np.array([0, 0, 127, 0, 128])).tolist() == [1, 1, 8, 9, 9]


def results(form: Requantization, acc: np.ndarray) -> np.ndarray:
    """What the form makes of accumulators [..., channels]: q + 128, in 32 bits."""
    offsets = form.offsets if form.lowerings is None else form.offsets - np.where(acc < 0, form.lowerings, 0)
    moved = acc if form.origins is None else acc - form.origins
    inside = np.ones(acc.shape, bool) if form.origins is None else (moved >= 0) & (moved < 1 << form.window_bits)
    moved_inside = np.where(inside, moved, 0)
    coarse, fine = moved_inside * form.coarse, (moved_inside >> form.preshift) * form.fine
    total = coarse + (fine >> form.fine_shift) + offsets
    for part in (coarse, fine, total, coarse + offsets):
        assert np.abs(part).max() < 2**31
    scaled = np.where(inside, total >> form.shift, np.where(moved < 0, 0, 255))
    return np.clip(scaled, form.low, form.high)


@pytest.mark.parametrize("rounding", (Rounding.SINGLE, Rounding.DOUBLE))
@pytest.mark.parametrize("zero_point", (-128, -3, 127))
@pytest.mark.parametrize("reach_bits", (12, 15, 18))
def test_requantisation_equals_the_reference(rounding: Rounding, zero_point: int, reach_bits: int) -> None:
    channels = 12
    rng = np.random.default_rng(1000 * reach_bits + zero_point)
    real_bits = rng.integers(reach_bits - 9, reach_bits - 7, channels)
    scaling = ChannelScaling(
        np.zeros(channels, np.int64), rng.integers(2**30, 2**31, channels), -real_bits, rounding, zero_point,
        max(zero_point, -128) if zero_point == -128 else -128, 127,
    )  # fmt: skip
    high = np.full(channels, 2**reach_bits - 1) - rng.integers(0, 2 ** (reach_bits - 1), channels)
    low = -high + rng.integers(0, 2 ** (reach_bits - 2), channels)
    form = requantization(scaling, low, high, EXCESS)
    assert form is not None
    reference = Scaling(scaling.multipliers, scaling.shifts, rounding, zero_point, scaling.low, scaling.high)
    near = (np.arange(-700, 701)[:, None] * 2.0 ** (real_bits - 2)).astype(np.int64)
    acc = np.concatenate([near, rng.integers(low, high + 1, (20000, channels)), [low, high]])
    acc = np.clip(acc, low, high)
    assert (results(form, acc) == reference.results(acc) + 128).all()


@pytest.mark.parametrize("zero_point", (-128, 0, 44))
def test_requantisation_equals_the_reference_where_few_results_occur(zero_point: int) -> None:
    """Channels with one result, in the middle or at an end, and with results on one side of zero only."""
    ranges = [(0, 0), (5000, 5000), (-7000, -7000), (90_000, 99_000), (-90_000, -80_000), (300, 420), (-4000, 9000)]
    lows, highs = (np.array(column, np.int64) for column in zip(*ranges, strict=True))
    count = len(ranges)
    scaling = ChannelScaling(
        np.zeros(count, np.int64), np.linspace(2**30, 2**31 - 1, count).astype(np.int64), np.full(count, -8),
        Rounding.SINGLE, zero_point, -128, 127,
    )  # fmt: skip
    form = requantization(scaling, lows, highs, EXCESS)
    assert form is not None
    reference = Scaling(scaling.multipliers, scaling.shifts, Rounding.SINGLE, zero_point, -128, 127)
    acc = np.linspace(lows, highs, 20_000).astype(np.int64)
    assert (results(form, acc) == reference.results(acc) + 128).all()


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATORS)
def test_every_case_on_the_core(op: str, tmp_path: Path) -> None:
    found = []
    chosen = list(trials(op, ("armv6m",), BOARD.core))
    assert chosen
    for number, batch in enumerate(batches(chosen, BOARD, BATCH, "armv6m", samples=2)):
        image = build(batch.sources, BOARD, tmp_path / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, BOARD, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, BOARD, batch.samples[0]).outputs)
    assert not found, "\n".join(found)
