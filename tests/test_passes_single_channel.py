"""Depthwise convolutions of one channel become convolutions, to the bit; others stay, with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ops import CASES
from midge.ops.cases import random_inputs
from midge.passes import PassOptions, single_channel
from midge.targets import find_board

BOARD = find_board("nucleo-l4r5zi")


def case(name: str) -> Graph:
    """A depthwise convolution of the operator's table."""
    found = next(case for case in CASES["depthwise_conv2d"] if case.name == name)
    return found.build(np.random.default_rng(3))


def test_one_channel_becomes_a_convolution() -> None:
    graph = case("10x8_multiplier8")
    changed = single_channel.run(graph, BOARD, PassOptions())
    assert [node.op.name for node in changed.nodes] == ["conv2d"]
    assert changed.macs(changed.nodes[0]) == graph.macs(graph.nodes[0])
    for _ in range(3):
        inputs = random_inputs(graph, np.random.default_rng(4))
        for before, after in zip(run_graph(graph, inputs), run_graph(changed, inputs), strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("3x3_same_c3_w5", "3 channels"), ("float_multiplier2_relu6", "3 channels"), ("3x3_same_c4_w4", "4 channels")],
)
def test_others_stay(name: str, reason: str) -> None:
    graph = case(name)
    said: list[str] = []
    assert single_channel.run(graph, BOARD, PassOptions(explain=said.append)) is graph
    assert said == [f"single_channel: {graph.nodes[0].name} stays, {reason}"]
