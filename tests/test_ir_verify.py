"""Each rule of the verifier, with its message."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from midge.errors import ModelError
from midge.ir.graph import GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Activation
from midge.ops.relu import Relu

F4 = TensorType(DType.FLOAT32, (1, 4))


def sound() -> GraphBuilder:
    """x -> relu -> y."""
    builder = GraphBuilder("g")
    builder.inputs.append(builder.value("x", F4))
    builder.outputs.append(builder.value("y", F4))
    builder.node(Relu(Activation.RELU), ["x"], ["y"], name="n")
    return builder


def int8(quantization: Quantization | None, shape: tuple[int, ...] = (1, 4)) -> TensorType:
    return TensorType(DType.INT8, shape, quantization)


def test_a_sound_graph_is_built():
    assert sound().build().nodes[0].name == "n"


def no_outputs(b: GraphBuilder) -> None:
    b.outputs.clear()


def input_twice(b: GraphBuilder) -> None:
    b.inputs.append("x")


def unknown_operand(b: GraphBuilder) -> None:
    b.node(Relu(Activation.RELU), ["z"], ["y"])


def made_twice(b: GraphBuilder) -> None:
    b.node(Relu(Activation.RELU), ["x"], ["y"], name="again")


def early(b: GraphBuilder) -> None:
    b.value("late", F4)
    b.nodes.clear()
    b.node(Relu(Activation.RELU), ["late"], ["y"], name="first")
    b.node(Relu(Activation.RELU), ["x"], ["late"], name="second")


def node_twice(b: GraphBuilder) -> None:
    b.value("z", F4)
    b.node(Relu(Activation.RELU), ["x"], ["z"], name="n")


def orphan(b: GraphBuilder) -> None:
    b.value("z", F4)


def missing_output(b: GraphBuilder) -> None:
    b.outputs.append("z")


def wrong_type(b: GraphBuilder) -> None:
    b.value("y", TensorType(DType.FLOAT32, (1, 5)))


def constant_shape(b: GraphBuilder) -> None:
    b.value("c", F4, np.zeros((4,), np.float32))


def constant_dtype(b: GraphBuilder) -> None:
    b.value("c", F4, np.zeros((1, 4), np.int32))


def zero_dimension(b: GraphBuilder) -> None:
    b.value("c", TensorType(DType.FLOAT32, (1, 0)), np.zeros((1, 0), np.float32))


def zero_scale(b: GraphBuilder) -> None:
    b.value("c", int8(Quantization((0.0,), (0,), None)), np.zeros((1, 4), np.int8))


def infinite_scale(b: GraphBuilder) -> None:
    b.value("c", int8(Quantization((float("inf"),), (0,), None)), np.zeros((1, 4), np.int8))


def zero_point(b: GraphBuilder) -> None:
    b.value("c", int8(Quantization((1.0,), (128,), None)), np.zeros((1, 4), np.int8))


def few_scales(b: GraphBuilder) -> None:
    b.value("c", int8(Quantization((1.0, 1.0), (0, 0), 1)), np.zeros((1, 4), np.int8))


def float_scale(b: GraphBuilder) -> None:
    b.value("c", TensorType(DType.FLOAT32, (1, 4), Quantization((1.0,), (0,), None)), np.zeros((1, 4), np.float32))


def constant_input(b: GraphBuilder) -> None:
    b.inputs.append(b.value("c", F4, np.zeros((1, 4), np.float32)))


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (no_outputs, "g: no outputs; expected at least one"),
        (input_twice, "g: input 'x': 2 of that name; expected unique names"),
        (unknown_operand, "g: node 'relu_1' (relu): the unknown operand 'z'; expected a value of the graph"),
        (made_twice, "g: node 'again' (relu): the result 'y' made a second time; expected each value made once"),
        (early, "g: node 'first' (relu): the operand 'late' used before it is made; expected nodes in execution order"),
        (node_twice, "g: node 'n': 2 of that name; expected unique names"),
        (
            orphan,
            "g: value 'z': nothing that makes it; expected a constant, a graph input, a state or the result of a node",
        ),
        (missing_output, "g: output 'z': no such value; expected one that the graph makes"),
        (wrong_type, "g: node 'n' (relu): an output of shape [1, 5]; expected [1, 4]"),
        (constant_shape, "g: value 'c': constant data of shape [4]; expected [1, 4]"),
        (constant_dtype, "g: value 'c': constant data of type int32; expected float32"),
        (zero_dimension, "g: value 'c': shape [1, 0]; expected positive dimensions"),
        (zero_scale, "g: value 'c': the scale 0.0; expected a positive, finite number"),
        (infinite_scale, "g: value 'c': the scale inf; expected a positive, finite number"),
        (zero_point, "g: value 'c': the zero point 128; expected -128 to 127"),
        (few_scales, "g: value 'c': 2 scales along an axis of 4; expected one for each index"),
        (float_scale, "g: value 'c': a quantised float32; expected quantisation of integers only"),
        (constant_input, "g: input 'c': a constant; expected a value without data"),
    ],
)
def test_rule(breaks: Callable[[GraphBuilder], None], message: str):
    builder = sound()
    breaks(builder)
    with pytest.raises(ModelError) as caught:
        builder.build()
    assert str(caught.value) == message
