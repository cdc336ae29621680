"""Parts of concatenations are read where they come from; results stay the same, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph
from midge.ops.base import Activation
from midge.ops.cases import floats
from midge.ops.concatenation import Concatenation
from midge.ops.map import Function, Map
from midge.ops.rearrange import rearrangement
from midge.ops.reshape import Reshape
from midge.passes import PassOptions, dead, read_part
from midge.targets import find_board

BOARD = find_board("nucleo-l4r5zi")


def network(axis: int, positions: np.ndarray, *, constant: int = -1) -> Graph:
    """Functions of one [2, 4] input (one may be a constant), concatenated; of the result, as a row, some elements."""
    builder = GraphBuilder("parts")
    builder.inputs.append(builder.value("x", floats((2, 4))))
    for k, function in enumerate((Function.SIN, Function.COS, Function.ABS)):
        if k == constant:
            builder.value(f"p{k}", floats((2, 4)), np.ones((2, 4), np.float32))
        else:
            builder.node(Map(function), ["x"], [builder.value(f"p{k}", floats((2, 4)))])
    shape = tuple(size * (3 if k == axis else 1) for k, size in enumerate((2, 4)))
    parts = ["p0", "p1", "p2"]
    builder.node(Concatenation(axis, Activation.NONE), parts, [builder.value("whole", floats(shape))])
    builder.node(Reshape((1, 24)), ["whole"], [builder.value("flat", floats((1, 24)))])
    op = rearrangement(positions)
    assert op is not None
    builder.node(op, ["flat"], [builder.value("y", floats(positions.shape))], name="part")
    builder.outputs.append("y")
    return builder.build()


def _kept(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


@pytest.mark.parametrize(
    ("axis", "positions", "left"),
    [
        (0, np.arange(16, 24).reshape(1, 8), ["map", "reshape"]),
        (0, np.arange(20, 24).reshape(4), ["map", "rearrange"]),
        (0, np.array([[11, 10, 9]]), ["map", "rearrange"]),
        (1, np.array([4, 5, 6, 7, 16, 17, 18, 19]).reshape(2, 4), ["map", "reshape"]),
        (1, np.array([[9, 21]]), ["map", "rearrange"]),
    ],
)
def test_parts_are_read_from_their_operand(axis: int, positions: np.ndarray, left: list[str]) -> None:
    graph = network(axis, positions)
    after = dead.run(read_part.run(graph, BOARD, PassOptions()), BOARD, PassOptions())
    assert _kept(after) == left
    x = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_graph(graph, [x])[0], run_graph(after, [x])[0])


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (network(0, np.arange(6, 12).reshape(1, 6)), "of several operands"),
        (network(0, np.arange(8).reshape(1, 8), constant=0), "and the operand is a constant, or has another type"),
    ],
)
def test_reasons(graph: Graph, reason: str) -> None:
    said: list[str] = []
    after = read_part.run(graph, BOARD, PassOptions(explain=said.append))
    assert after is graph
    assert len(said) == 1 and said[0].startswith("read_part: part reads the whole of ") and said[0].endswith(reason)
