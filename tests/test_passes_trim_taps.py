"""Smaller kernels: exact geometry, and a reason where nothing can be cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkMaker
from sparse_networks import extreme_inputs, sparse_network

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph
from midge.ops.conv2d import Conv2D
from midge.passes import PassOptions, trim_taps
from midge.targets import find_board

BOARD = find_board("nucleo-l4r5zi")


def convolution(height: int, width: int, kernel: tuple[int, int], zero: tuple[slice, slice], *, same: bool,
                stride: int = 1) -> Graph:  # fmt: skip
    """One convolution, whose weights are zero at some taps."""
    maker = NetworkMaker(3, height, width, 2)
    graph = maker.finish(maker.conv(maker.input, 3, kernel, same=same, stride=stride))
    builder = GraphBuilder.of(graph)
    name = graph.nodes[0].inputs[1] or ""
    data = graph.values[name].data
    assert data is not None
    data = data.copy()
    data[:, zero[0], zero[1]] = 0
    builder.value(name, graph.type(name), data)
    return builder.build()


def assert_equal(before: Graph, after: Graph) -> None:
    for inputs in extreme_inputs(before, np.random.default_rng(0), 4):
        for a, b in zip(run_graph(before, inputs), run_graph(after, inputs), strict=True):
            np.testing.assert_array_equal(a, b)


EVERY, FIRST, LAST, OUTER = slice(None), slice(0, 1), slice(-1, None), slice(0, None, 2)


@pytest.mark.parametrize(
    ("height", "width", "zero", "stride", "kernel", "padding"),
    [
        (5, 6, (FIRST, EVERY), 1, (2, 3), (0, 1, 1, 1)),
        (5, 6, (EVERY, LAST), 1, (3, 2), (1, 1, 1, 0)),
        (5, 6, (OUTER, EVERY), 1, (1, 3), (0, 0, 1, 1)),
        (5, 1, (slice(0, 0), EVERY), 1, (3, 1), (1, 1, 0, 0)),
        (6, 6, (LAST, EVERY), 2, (2, 3), (0, 0, 0, 1)),
    ],
)
def test_kernels_shrink(height: int, width: int, zero: tuple[slice, slice], stride: int, kernel: tuple[int, int],
                        padding: tuple[int, int, int, int]) -> None:  # fmt: skip
    graph = convolution(height, width, (3, 3), zero, same=True, stride=stride)
    trimmed = trim_taps.run(graph, BOARD, PassOptions())
    op = trimmed.nodes[0].op
    assert isinstance(op, Conv2D)
    assert trimmed.type(trimmed.nodes[0].inputs[1] or "").shape == (3, *kernel, 2)
    assert (op.padding.top, op.padding.bottom, op.padding.left, op.padding.right) == padding
    assert_equal(graph, trimmed)


@pytest.mark.parametrize(
    ("zero", "same", "reason"),
    [
        ((slice(0, 0), EVERY), True, "all its outer taps are used"),
        ((FIRST, EVERY), False, "without padding, its unused taps hold the window in place"),
    ],
)
def test_reasons(zero: tuple[slice, slice], same: bool, reason: str) -> None:
    graph = convolution(5, 5, (3, 3), zero, same=same)
    assert trim_taps.refuse(graph, graph.nodes[0]) == reason
    assert trim_taps.run(graph, BOARD, PassOptions()) is graph


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30))
def test_exact_on_random_networks(seed: int) -> None:
    graph = sparse_network(seed)
    assert_equal(graph, trim_taps.run(graph, BOARD, PassOptions()))
