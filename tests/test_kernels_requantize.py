"""Requantisation by proof: every proven form equals the reference over its whole range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.kernels.add.armv7em import Finder
from midge.kernels.add.line import Line, find_line, reference_results
from midge.kernels.add.wide import find_halves
from midge.kernels.layouts import WIDE
from midge.kernels.packed_scaling import LOW_BITS, factor_of, packed, words_of
from midge.kernels.quantized import ChannelScaling
from midge.kernels.requantize_armv7em import form_for
from midge.kernels.staircase import (
    Literal,
    Scaling,
    Staircase,
    accumulator_range,
    evaluate,
    first_accumulators,
    literal,
    prove,
)
from midge.ops.add import Add
from midge.ops.base import Activation, Rounding
from midge.ops.fixed_point import quantize_multiplier, rounding_divide_by_pot, saturating_rounding_doubling_high_mul


def scaling_of(reals: list[float], rounding: Rounding, zero_point: int, low: int) -> Scaling:
    pairs = [quantize_multiplier(real) for real in reals]
    return Scaling(
        np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs]), rounding, zero_point, low, 127
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(2.0**-12, 2.0**-5), min_size=1, max_size=4),
    st.sampled_from([Rounding.DOUBLE, Rounding.SINGLE]),
    st.integers(-128, 127),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_proven_forms_equal_the_reference(
    reals: list[float], rounding: Rounding, zero_point: int, rectified: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scaling = scaling_of(reals, rounding, zero_point, zero_point if rectified else -128)
    biases = rng.integers(-5000, 5000, len(reals))
    lows, highs = biases - rng.integers(100, 9000, len(reals)), biases + rng.integers(100, 9000, len(reals))
    form = prove(scaling, biases, lows, highs, fraction_bits=6)
    if form is None:
        return
    count = int((highs - lows).max()) + 1
    acc = np.minimum(lows + np.arange(count)[:, None], highs)
    np.testing.assert_array_equal(evaluate(form, acc - biases, scaling.low, 127), scaling.results(acc))


def test_rectified_layers_are_usually_proven() -> None:
    rng = np.random.default_rng(5)
    proven = 0
    for _ in range(50):
        scaling = scaling_of([float(rng.uniform(2.0**-9, 2.0**-6))] * 2, Rounding.DOUBLE, -128, -128)
        reach = np.array([200_000, 200_000])
        proven += prove(scaling, np.array([17, -80]), -reach, reach, fraction_bits=6) is not None
    assert proven >= 45


def test_channels_with_scales_far_apart_have_shifts_of_their_own() -> None:
    scaling = scaling_of([2.0**-5, 2.0**-11 * 1.1], Rounding.DOUBLE, -128, -128)
    biases, reach = np.array([5, -300]), np.array([9_000, 200_000])
    form = prove(scaling, biases, -reach, reach, fraction_bits=6, own_shifts=True)
    assert form is not None and form.has_own_shifts and form.lowerings is None
    shared = prove(scaling, biases, -reach, reach, fraction_bits=6)
    assert shared is None or not shared.has_own_shifts
    for channel in range(2):
        acc = np.broadcast_to(np.arange(-reach[channel], reach[channel] + 1)[:, None], (2 * reach[channel] + 1, 2))
        np.testing.assert_array_equal(
            evaluate(form, acc - biases, -128, 127)[:, channel], scaling.results(acc)[:, channel]
        )


@pytest.mark.parametrize("low", [-128, 20])
@pytest.mark.parametrize("varies", [(), (0,), (0, 2)])
def test_channels_with_one_result_take_no_part_in_the_proof(low: int, varies: tuple[int, ...]) -> None:
    """A dead channel's bias may be too large for 32 bits with a fraction, its scale too small for any shift."""
    reals = [2.0**-7 if channel in varies else 2.0**-23 for channel in range(3)]
    scaling = scaling_of(reals, Rounding.DOUBLE, 3, low)
    biases = np.array([40 if channel in varies else 229_545_120 for channel in range(3)])
    spread = np.array([9_000 if channel in varies else 50 for channel in range(3)])
    channel_scaling = ChannelScaling(
        biases, scaling.multipliers, scaling.shifts, Rounding.DOUBLE, 3, low, 127
    )  # fmt: skip
    form = form_for(channel_scaling, biases, biases - spread, biases + spread, 6)
    assert isinstance(form, Staircase)
    acc = biases + np.clip(np.arange(-9_000, 9_001)[:, None], -spread, spread)
    np.testing.assert_array_equal(evaluate(form, acc - biases, low, 127), scaling.results(acc))


def test_a_saturated_range_is_not_forgotten() -> None:
    """The lowest accumulator reaches results that no step of its own is left for."""
    scaling = scaling_of([2.0**-6], Rounding.DOUBLE, 127, -128)
    form = prove(scaling, np.array([0]), np.array([-300]), np.array([900]), fraction_bits=6)
    assert form is not None
    acc = np.arange(-300, 901)[:, None]
    np.testing.assert_array_equal(evaluate(form, acc, -128, 127), scaling.results(acc))


@settings(max_examples=40, deadline=None)
@given(st.floats(2.0**-10, 2.0**-2), st.integers(-128, 127), st.integers(0, 2**32 - 1))
def test_the_literal_form_is_the_reference(real: float, zero_point: int, seed: int) -> None:
    scaling = scaling_of([real], Rounding.DOUBLE, zero_point, -128)
    reach = np.array([1 << 20])
    form = literal(scaling, np.array([0]), -reach, reach, fraction_bits=6)
    assert isinstance(form, Literal)
    acc = np.random.default_rng(seed).integers(-reach, reach, (2000, 1))
    high = saturating_rounding_doubling_high_mul(acc, form.multipliers.astype(np.int64))
    results = np.clip((high + (high >> 63) + form.offsets) >> form.shifts, -128, 127)
    np.testing.assert_array_equal(results, scaling.results(acc))
    rounded = rounding_divide_by_pot(high, -scaling.shifts) + zero_point
    np.testing.assert_array_equal(np.clip(rounded, -128, 127), results)


def packed_results(form: Staircase | Literal, words: np.ndarray, acc: np.ndarray, low_bits: int) -> np.ndarray:
    """What the instructions of `Scale.unpack` and `Scale.steps` do with words and accumulators that have a fraction."""
    words = words.view(np.uint32).astype(np.int64)
    part, multiplier = words & 15, words
    if low_bits == 2:
        part, multiplier = words >> 30 | (words & 3) << 2, words & (2**30 - 1) | 2**30
    offset = np.int64(factor_of(form)) << part
    if isinstance(form, Literal):
        high = ((acc >> (form.fraction_bits - 1)) * multiplier + 2**31) >> 32
        assert np.abs(high).max() < 2**31 and np.abs(offset).max() < 2**31
        return (high + (high >> 31) + offset) >> part >> 1
    seen = offset + (1 << (form.fraction_bits - 2)) + ((acc * multiplier) >> 32)
    assert np.abs(acc).max() < 2**31 and np.abs(seen).max() < 2**31
    return seen >> part >> form.fraction_bits


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(2.0**-17, 0.49), min_size=1, max_size=5),
    st.integers(-128, 127),
    st.booleans(),
    st.sampled_from(LOW_BITS),
    st.sampled_from([6, 8]),
    st.integers(0, 2**32 - 1),
)
def test_packed_words_equal_the_reference(
    reals: list[float], zero_point: int, rectified: bool, low_bits: int, fraction_bits: int, seed: int
) -> None:
    """Round each step, at the ends of the range and anywhere."""
    rng = np.random.default_rng(seed)
    scaling = scaling_of(reals, Rounding.DOUBLE, zero_point, zero_point if rectified else -128)
    biases = rng.integers(-(2**17), 2**17, len(reals))
    lows = biases - rng.integers(0, 2**20, len(reals))
    highs = biases + rng.integers(0, 2**20, len(reals))
    form = packed(scaling, biases, lows, highs, fraction_bits=fraction_bits, low_bits=low_bits)
    if form is None:
        return
    first = first_accumulators(scaling, lows, highs)
    ends, anywhere = np.stack([lows, highs]), lows + rng.integers(0, highs - lows + 1, (2000, len(reals)))
    acc = np.clip(np.concatenate([first - 1, first, ends, anywhere]), lows, highs)
    seen = form.starts + ((acc - biases) << fraction_bits)
    results = np.clip(packed_results(form, words_of(form, low_bits), seen, low_bits), scaling.low, 127)
    np.testing.assert_array_equal(results, scaling.results(acc))


@pytest.mark.parametrize("rectified", [True, False])
def test_layers_are_packed(rectified: bool) -> None:
    """With two low bits nearly always; without a rectifier literally."""
    rng, found = np.random.default_rng(7), []
    for _ in range(60):
        scaling = scaling_of(list(2.0 ** rng.uniform(-11, -6, 8)), Rounding.DOUBLE, -3, -3 if rectified else -128)
        reach, biases = np.full(8, 1 << 19), rng.integers(-(2**14), 2**14, 8)
        found.append(packed(scaling, biases, -reach, reach, fraction_bits=6, low_bits=2))
    assert sum(isinstance(form, Staircase if rectified else Literal) for form in found) >= 58


def test_a_dead_channel_is_packed_too() -> None:
    """Its bias is too large for 32 bits with a fraction, its scale too small for any part."""
    scaling = scaling_of([2.0**-7, 2.0**-23], Rounding.DOUBLE, -128, -128)
    biases, spread = np.array([40, -229_545_120]), np.array([9_000, 50])
    for low_bits in LOW_BITS:
        form = packed(scaling, biases, biases - spread, biases + spread, fraction_bits=6, low_bits=low_bits)
        assert form is not None and form.starts[1] == 0
        acc = biases + np.clip(np.arange(-9_000, 9_001)[:, None], -spread, spread)
        seen = form.starts + ((acc - biases) << 6)
        results = np.clip(packed_results(form, words_of(form, low_bits), seen, low_bits), -128, 127)
        np.testing.assert_array_equal(results, scaling.results(acc))


def test_a_dead_channel_with_sums_beyond_32_bits_is_not_packed() -> None:
    """Without its bias it would wrap, and have other results."""
    scaling = scaling_of([2.0**-7, 2.0**-26], Rounding.DOUBLE, -128, -128)
    biases, spread = np.array([40, 0]), np.array([9_000, 30_000_000])
    assert scaling.is_constant(biases - spread, biases + spread)[1]
    assert packed(scaling, biases, biases - spread, biases + spread, fraction_bits=6, low_bits=4) is None


def test_scales_that_no_word_holds_are_not_packed() -> None:
    biases, reach = np.zeros(1, np.int64), np.array([4000])
    for real, rounding in ((0.7, Rounding.DOUBLE), (2.0**-7, Rounding.SINGLE)):
        scaling = scaling_of([real], rounding, 0, -128)
        assert packed(scaling, biases, -reach, reach, fraction_bits=6, low_bits=4) is None


def test_accumulator_range_is_exact() -> None:
    rng = np.random.default_rng(3)
    weights, biases = rng.integers(-127, 128, (2, 3)), np.array([5, -9])
    lows, highs = accumulator_range(weights, biases, -2, 1)
    inputs = np.stack(np.meshgrid(*[np.arange(-2, 2)] * 3), axis=-1).reshape(-1, 3)
    sums = inputs @ weights.T + biases
    np.testing.assert_array_equal((sums.min(0), sums.max(0)), (lows, highs))


def sum_graph(scales: tuple[float, float, float], zero_points: tuple[int, int, int]) -> Graph:
    types = [
        TensorType(DType.INT8, (1, 4), Quantization((float(np.float32(scale)),), (zero_point,), None))
        for scale, zero_point in zip(scales, zero_points, strict=True)
    ]
    builder = GraphBuilder("sum")
    builder.inputs += [builder.value("a", types[0]), builder.value("b", types[1])]
    builder.outputs.append(builder.value("y", types[2]))
    builder.node(Add(Activation.RELU), ["a", "b"], ["y"])
    return builder.build()


SUMS = {
    "rectified": ((0.0401, 0.1133, 0.0617), (4, -17, -128)),
    "results that no sum has": ((0.0058, 0.0058, 0.0033), (91, 91, -128)),
    "always the highest": ((0.01, 0.02, 0.003), (-128, -128, 127)),
    "always the lowest": ((0.01, 0.01, 0.2), (127, 127, -128)),
    "always one in the middle": ((0.001, 0.001, 9.0), (3, -5, 20)),
}


@pytest.mark.parametrize("find", [find_line, find_halves])
@pytest.mark.parametrize("sums", SUMS.values(), ids=SUMS)
def test_a_line_equals_the_sum_for_every_pair_of_bytes(
    find: Finder, sums: tuple[tuple[float, ...], tuple[int, ...]]
) -> None:
    graph = sum_graph(*sums)
    line = find(graph.nodes[0], graph)
    assert line is not None
    assert_line(graph, line, find)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3.0, 0.5), min_size=3, max_size=3), st.lists(st.integers(-128, 127), min_size=3, max_size=3),
       st.sampled_from([find_line, find_halves]), st.booleans())  # fmt: skip
def test_a_line_that_is_found_is_right(powers: list[float], zero_points: list[int], find: Finder, equal: bool) -> None:
    scales = [10.0**power for power in powers]
    graph = sum_graph((scales[0], scales[0] if equal else scales[1], scales[2]), tuple(zero_points))
    line = find(graph.nodes[0], graph)
    if line is not None:
        assert_line(graph, line, find)


def assert_line(graph: Graph, line: Line, find: Finder) -> None:
    """Every pair of bytes; `find_halves` has factors of values without their zero points, of which bits are dropped."""
    node = graph.nodes[0]
    a, b = (graph.type(name or "").zero_point for name in node.inputs)
    values = np.arange(-128, 128, dtype=np.int64)
    if find is find_line:
        parts = values * line.a_factor, values * line.b_factor
    else:
        bits = WIDE.fraction_bits or 0
        parts = ((values - a) << bits) * line.a_factor >> 16, ((values - b) << bits) * line.b_factor >> 16
    sums = parts[0][:, None] + parts[1][None, :] + line.offset
    assert np.abs(sums).max() < 2**31
    np.testing.assert_array_equal(np.clip(sums >> line.shift, -128, 127), reference_results(node, graph))
