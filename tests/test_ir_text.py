"""The text form: exact round trips, and errors that name the line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_load_models import assert_same

from midge.errors import ModelError
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.text import parse_graph, print_graph
from midge.ir.types import DType, Quantization, TensorType
from midge.ops import CASES
from midge.ops.add import Add
from midge.ops.base import Activation
from midge.ops.relu import Relu

EXAMPLE = """graph "example"
input %x: int8[1, 4] q(0.5, -3)
constant %"a b": int8[4] q([0.25, 0.5, 1.0, 2.0], [0, 0, 0, 0], axis=0) = [1, -2, 3, -128]
constant %b: int32[2] = [17, -4]
%y: int8[1, 4] q(0.5, -128) = relu(%x) activation=relu6 @"relu_0"
output %y
"""


def test_example_prints_as_it_was_written():
    graph = parse_graph(EXAMPLE.replace("constant", "  constant ").replace("= relu", "=  relu") + "\n# a comment\n")
    by_line = sorted(print_graph(graph).splitlines())
    assert by_line == sorted(EXAMPLE.splitlines())
    assert graph.values["a b"].type.quantization == Quantization((0.25, 0.5, 1.0, 2.0), (0, 0, 0, 0), 0)


def test_elided_text_is_short_and_says_so_when_parsed():
    graph = next(case for case in CASES["conv2d"] if case.name == "1x1_c33_o5_w3").build(np.random.default_rng(0))
    text = print_graph(graph, elide=True)
    assert 'elided "sha256:' in text and "5 scales" in text and len(text) < 600
    with pytest.raises(ModelError, match="line 3"):
        parse_graph(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('graph "example"', "grph", "line 1: 'grph'; expected graph"),
        ("input %x", "inptu %x", "line 2: 'inptu'; expected input or state or constant or output or next"),
        ("int8[1, 4] q(0.5, -3)", "int9[1, 4]", "line 2: 'int9'; expected int8 or uint8 or int16"),
        ("q(0.5, -3)", "q(0.5 -3)", "line 2: '-3'; expected ','"),
        ("q(0.5, -3)", "q(0.0, -3)", "line 2: value 'x': the scale 0.0; expected a positive, finite number"),
        ("[1, -2, 3, -128]", "[1, -2, 3]", "line 3: 3 numbers; expected 4"),
        ("[1, -2, 3, -128]", "[1, -2, 3, 200]", "line 3: numbers that the type cannot hold; expected int8 numbers"),
        ("[1, -2, 3, -128]", 'packed "@@"', "line 3: packed data that is damaged; expected zlib-compressed bytes"),
        ("[17, -4]", "[17, -4.5]", "line 4: numbers that the type cannot hold; expected int32 numbers"),
        ("%b: int32", "%x: int32", "line 4: a second value 'x'; expected a new name"),
        ("relu(%x)", "rulu(%x)", "line 5: the operator 'rulu'; expected one of add, "),
        ("activation=relu6", "activation=relu7", "line 5: activation=relu7; expected one of none, relu, relu6"),
        ("activation=relu6", "", "line 5: relu with the attributes none; expected activation"),
        ("relu(%x)", "relu(%q)", "example: node 'relu_0' (relu): the unknown operand 'q'"),
        ("output %y", "output %y %x", "line 6: 'x' behind the statement; expected the end of the line"),
        ("output %y", "output §", "line 6: '§'; expected a statement of the text form"),
    ],
)
def test_parse_error(old: str, new: str, message: str):
    assert EXAMPLE.count(old) >= 1
    with pytest.raises(ModelError) as caught:
        parse_graph(EXAMPLE.replace(old, new, 1))
    assert message in str(caught.value).replace("'%x'", "'x'")


def test_empty_text():
    with pytest.raises(ModelError, match="no statement"):
        parse_graph("\n# nothing\n")


NAMES = st.text(min_size=1, max_size=12)
FLOAT32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
SCALES = st.floats(min_value=2.0**-40, max_value=2.0**40, width=32)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Chains of additions of constants and rectifiers, with wild names and numbers."""
    builder = GraphBuilder(draw(NAMES))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    is_float = draw(st.booleans())

    def type_of() -> TensorType:
        if is_float:
            return TensorType(DType.FLOAT32, shape)
        return TensorType(DType.INT8, shape, Quantization((draw(SCALES),), (draw(st.integers(-128, 127)),), None))

    def constant(type_: TensorType) -> np.ndarray:
        element = FLOAT32 if is_float else st.integers(-128, 127)
        numbers = draw(st.lists(element, min_size=type_.elements, max_size=type_.elements))
        return np.array(numbers, type_.dtype.numpy).reshape(shape)

    last = builder.value(builder.unique(draw(NAMES)), type_of())
    builder.inputs.append(last)
    for number in range(draw(st.integers(1, 4))):
        result = builder.value(builder.unique(draw(NAMES)), builder.values[last].type)
        if draw(st.booleans()):
            builder.node(Relu(draw(st.sampled_from(list(Activation)[1:]))), [last], [result], f"n{number}")
        else:
            type_ = builder.values[last].type
            addend = builder.value(builder.unique(draw(NAMES)), type_, constant(type_))
            builder.node(Add(draw(st.sampled_from(Activation))), [last, addend], [result], f"n{number}")
        last = result
    builder.outputs.append(last)
    return builder.build()


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_any_graph_round_trips_exactly(graph: Graph):
    text = print_graph(graph)
    again = parse_graph(text)
    assert_same(graph, again)
    assert print_graph(again) == text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_parsed_or_refused(text: str):
    for source in (text, f'graph "g"\n{text}'):
        with pytest.raises(ModelError):
            parse_graph(source)
