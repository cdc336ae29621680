"""Interval analysis: sound on random networks, exact where it can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkMaker
from sparse_networks import extreme_inputs, sparse_network

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph_values
from midge.ir.types import DType, Quantization, TensorType
from midge.ops import CASES
from midge.ops.base import Activation, Padding, Rounding
from midge.ops.cases import random_inputs
from midge.ops.conv2d import Conv2D
from midge.passes.intervals import accumulator_bounds, clamp_acts, intervals_of, unclamped_bounds

seeds = st.integers(0, 1 << 30)


def assert_within(graph: Graph, inputs: tuple[np.ndarray, ...]) -> None:
    intervals = intervals_of(graph)
    for name, array in run_graph_values(graph, inputs).items():
        if name in intervals:
            pixels = array.reshape(-1, graph.type(name).channels)
            assert (pixels >= intervals[name].low).all() and (pixels <= intervals[name].high).all(), name


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_every_value_lies_within_its_bounds(seed: int) -> None:
    graph = sparse_network(seed)
    for inputs in extreme_inputs(graph, np.random.default_rng(seed), 2):
        assert_within(graph, inputs)


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_operator_lies_within_its_bounds(name: str) -> None:
    for case in CASES[name]:
        rng = np.random.default_rng(1)
        graph = case.build(rng)
        assert_within(graph, random_inputs(graph, rng))


def pointwise(weights: list[list[int]], bias: list[int], activation: Activation = Activation.NONE) -> Graph:
    """A 1x1 convolution of two channels at scale 1 and zero point 0, so that results are accumulators / 16."""
    one, sixteen = Quantization((1.0,), (0,), None), Quantization((16.0,), (0,), None)
    outputs = len(bias)
    builder = GraphBuilder("pointwise")
    builder.inputs.append(builder.value("x", TensorType(DType.INT8, (1, 1, 1, 2), one)))
    data = np.array(weights, np.int8).reshape(outputs, 1, 1, 2)
    builder.value("w", TensorType(DType.INT8, data.shape, one), data)
    builder.value("b", TensorType(DType.INT32, (outputs,)), np.array(bias, np.int32))
    builder.outputs.append(builder.value("y", TensorType(DType.INT8, (1, 1, 1, outputs), sixteen)))
    op = Conv2D(1, 1, 1, 1, Padding(0, 0, 0, 0), activation, Rounding.DOUBLE)
    builder.node(op, ["x", "w", "b"], ["y"], name="conv")
    return builder.build()


def test_accumulators_are_bounded_by_weights_and_the_input_range() -> None:
    graph = pointwise([[2, -3], [0, 0]], [10, -7])
    bounds = accumulator_bounds(graph, graph.nodes[0], intervals_of(graph))
    assert bounds is not None
    assert bounds.low.tolist() == [10 + 2 * -128 - 3 * 127, -7]
    assert bounds.high.tolist() == [10 + 2 * 127 + 3 * 128, -7]


def test_a_filter_of_zeros_is_a_constant() -> None:
    interval = intervals_of(pointwise([[0, 0], [1, 0]], [320, 0]))["y"]
    assert interval.is_constant.tolist() == [True, False]
    assert interval.low[0] == 20


@pytest.mark.parametrize(
    ("weights", "bias", "activation", "expected"),
    [
        ([1, 0], 0, Activation.NONE, (False, False)),
        ([1, 0], 0, Activation.RELU, (True, False)),
        ([1, 0], 2048, Activation.RELU, (False, True)),
        ([1, 0], 128, Activation.RELU, (False, False)),
        ([16, 1], 0, Activation.NONE, (True, True)),
    ],
)
def test_clamps_that_cannot_act(
    weights: list[int], bias: int, activation: Activation, expected: tuple[bool, bool]
) -> None:
    graph = pointwise([weights], [bias], activation)
    acts = clamp_acts(graph, graph.nodes[0], intervals_of(graph))
    assert acts is not None
    assert (bool(acts[0][0]), bool(acts[1][0])) == expected


def test_accumulators_that_may_wrap_have_the_whole_range() -> None:
    graph = pointwise([[1, 0]], [2**31 - 1])
    interval = intervals_of(graph)["y"]
    assert unclamped_bounds(graph, graph.nodes[0], intervals_of(graph)) is None
    assert (interval.low[0], interval.high[0]) == (-128, 127)


def test_padding_counts_as_a_possible_operand() -> None:
    """A constant image is no constant after a padded sum: the corner has four taps, the middle nine."""
    maker = NetworkMaker(0, 4, 4, 1)
    graph = maker.finish(maker.depthwise(maker.input, (3, 3)))
    builder = GraphBuilder.of(graph)
    node = graph.nodes[0]
    builder.value(node.inputs[1] or "", graph.type(node.inputs[1] or ""), np.ones((1, 3, 3, 1), np.int8))
    zero_point = graph.type("x").zero_point
    bounds = accumulator_bounds(graph := builder.build(), node, intervals_of(graph))
    bias = graph.constant(node.inputs[2])
    assert bounds is not None and bias is not None
    assert bounds.high[0] == bias[0] + 9 * (127 - zero_point)
    assert bounds.low[0] == bias[0] + 9 * (-128 - zero_point)
