"""The interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from midge.errors import UsageError
from midge.ir.interpret import run_graph, run_graph_values
from midge.ir.text import parse_graph

GRAPH = parse_graph("""graph "g"
input %x: float32[1, 3]
constant %c: float32[3] = [1.0, -5.0, 2.0]
%s: float32[1, 3] = add(%x, %c) activation=none @"add"
%y: float32[1, 3] = relu(%s) activation=relu @"relu"
output %y, %s
""")


def test_outputs_come_in_order_and_all_values_can_be_seen():
    x = np.array([[1, 1, 1]], np.float32)
    y, s = run_graph(GRAPH, [x])
    assert (y.tolist(), s.tolist()) == ([[2, 0, 3]], [[2, -4, 3]])
    values = run_graph_values(GRAPH, [x])
    assert sorted(values) == ["c", "s", "x", "y"] and values["s"].tolist() == [[2, -4, 3]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "g: 0 inputs; expected 1: x"),
        ([np.zeros((1, 4), np.float32)], "g: input 'x': an array float32[1, 4]; expected float32[1, 3]"),
        ([np.zeros((1, 3), np.float64)], "g: input 'x': an array float64[1, 3]; expected float32[1, 3]"),
    ],
)
def test_wrong_inputs(inputs: list[np.ndarray], message: str):
    with pytest.raises(UsageError) as caught:
        run_graph(GRAPH, inputs)
    assert str(caught.value) == message
