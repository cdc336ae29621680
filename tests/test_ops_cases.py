"""Every operator's test table: the cases run, and agree with LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from litert_runner import assert_equal, run_litert

from midge.errors import ModelError, UnsupportedError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ir.text import parse_graph, print_graph
from midge.ir.types import DType
from midge.load.tflite import graph_of
from midge.ops import CASES, OPERATORS
from midge.ops.base import Case, Op, Rounding
from midge.ops.cases import quantized, random_inputs, single
from midge.ops.fixed_point import multiply_by_quantized_multiplier
from midge.ops.logistic import Logistic
from midge.ops.tanh import Tanh
from midge.write.tflite import write_tflite

ALL = [pytest.param(case, id=f"{name}-{case.name}") for name, cases in CASES.items() for case in cases]


def test_discovery_names_every_operator_once():
    assert list(OPERATORS) == list(CASES) and len(OPERATORS) >= 20
    for name, operator in OPERATORS.items():
        assert operator.name == name
        assert len({case.name for case in CASES[name]}) == len(CASES[name]), f"{name}: two cases of one name"


@pytest.mark.parametrize("case", ALL)
def test_case_is_small_deterministic_and_prints(case: Case):
    graph = case.build(np.random.default_rng(3))
    assert len(graph.nodes) == 1
    assert max(value.type.bytes for value in graph.values.values()) <= 32768, "keep cases small: they run on emulators"
    text = print_graph(graph)
    assert text == print_graph(case.build(np.random.default_rng(3))) == print_graph(parse_graph(text))
    inputs = random_inputs(graph, np.random.default_rng(4))
    first, second = run_graph(graph, inputs), run_graph(parse_graph(text), inputs)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def _axis(graph: Graph) -> int:
    return graph.nodes[0].op.axis  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", OPERATORS)
def test_references_agree_with_litert(name: str):
    compared = 0
    for case in CASES[name]:
        for seed in range(2):
            rng = np.random.default_rng(seed)
            graph = case.build(rng)
            inputs = random_inputs(graph, rng)
            if name == "gather":  # LiteRT refuses what Midge clamps
                inputs = (*inputs[:-1], inputs[-1] % graph.type(graph.nodes[0].inputs[0] or "").shape[_axis(graph)])
            if name == "fully_connected" and graph.nodes[0].op.rounding is not Rounding.SINGLE:  # type: ignore[attr-defined]
                continue  # TensorFlow Lite Micro's bits; test_load_models has its check
            try:
                content = write_tflite(graph)
            except UnsupportedError:
                continue
            (found,) = run_graph(graph, inputs)
            try:
                (expected,) = run_litert(content, inputs)
            except ValueError as error:
                assert "Didn't find op" in str(error)  # CEIL, ELU and ROUND are not among the reference kernels
            else:
                assert_equal(expected, found, f"{name} {case.name} seed {seed}")
                compared += 1
            (imported,) = run_graph(graph_of(content, "case.tflite", "case"), inputs)
            assert_equal(found, imported, f"{name} {case.name} seed {seed}, imported")
    if compared == 0:
        pytest.skip(f"{name} has no equal in the .tflite format")


@pytest.mark.parametrize("case", CASES["fully_connected"], ids=lambda case: case.name)
def test_kernel_form_of_fully_connected_equals_its_reference(case: Case):
    """The multipliers that kernels get give the reference's bits, for every accumulator near a step."""
    graph = case.build(np.random.default_rng(0))
    node = graph.nodes[0]
    x, weights, _ = graph.input_types(node)
    (y,) = graph.output_types(node)
    if y.dtype is not DType.INT8:
        pytest.skip("only int8 has a proven form in place of its definition")
    assert x is not None and weights is not None
    multipliers, shifts = node.op.requantization(x, weights, y)  # type: ignore[attr-defined]
    assert multipliers.shape == shifts.shape == (weights.shape[0],) and multipliers.dtype == np.int32
    inputs = random_inputs(graph, np.random.default_rng(1))
    centred = inputs[0].reshape(-1, weights.shape[1]).astype(np.int64) - x.zero_point
    w = graph.constant(node.inputs[1])
    bias = graph.constant(node.inputs[2])
    assert w is not None
    acc = centred @ w.T.astype(np.int64) + (0 if bias is None else bias)
    scaled = multiply_by_quantized_multiplier(acc, multipliers, shifts, node.op.rounding) + y.zero_point  # type: ignore[attr-defined]
    (found,) = run_graph(graph, inputs)
    low, high = found.min(), found.max()
    inside = (found > low) & (found < high)
    assert np.array_equal(scaled.reshape(found.shape)[inside], found[inside])


def test_checks_name_the_operator_and_what_is_wrong():
    graph = CASES["conv2d"][0].build(np.random.default_rng(0))
    node = graph.nodes[0]
    types = graph.input_types(node)
    with pytest.raises(ModelError, match="conv2d: 2 operands; expected input, weights and bias"):
        node.op.check(types[:2], graph.output_types(node))


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-11, 2.0**-13, 1e-5, 3e-4, 0.01, 3.0])
@pytest.mark.parametrize("op", [Logistic(), Tanh()], ids=lambda op: op.name)
def test_int16_functions_equal_litert_for_every_value(op: Op, scale: float):
    every = np.arange(-(2**15), 2**15).astype(np.int16)[None]
    x, y = (quantized(every.shape, of, 0, DType.INT16) for of in (scale, 1 / 32768))
    graph = single(op.name, op, [("x", x, None)], y)
    (found,), (expected,) = run_graph(graph, [every]), run_litert(write_tflite(graph), [every])
    assert_equal(expected, found, f"{op.name} {scale}")
