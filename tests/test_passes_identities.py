"""Layers that compute nothing go; those that look like them stay; and where one has to stay, it counts as nothing."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence

import numpy as np
import pytest

import midge
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph
from midge.ir.text import parse_graph, print_graph
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Op, Padding
from midge.ops.binary import Binary
from midge.ops.binary import Function as BinaryFunction
from midge.ops.cases import random_inputs
from midge.ops.concatenation import Concatenation
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.rearrange import Rearrange
from midge.ops.relu import Relu
from midge.ops.softmax import Softmax
from midge.ops.sub import Sub
from midge.ops.tanh import Tanh
from midge.passes import PassOptions, identities
from midge.targets import find_board

BOARD = find_board("nucleo-l4r5zi")
SHAPE = (1, 3, 4, 2)
BACKWARDS = Rearrange(SHAPE, 23, (24,), (-1,))
NONE, RELU = Activation.NONE, Activation.RELU
REAL = TensorType(DType.FLOAT32, SHAPE)
BYTES = TensorType(DType.INT8, SHAPE, Quantization((0.5,), (-128,), None))
LOW, HIGH = (TensorType(DType.INT8, SHAPE, Quantization((0.5,), (zero,), None)) for zero in (0, 5))


def layer(op: Op, x: TensorType, y: TensorType, *constants: float, first: bool = False) -> Graph:
    """One layer between two that compute something. `constants` are an operand of its own, real values."""
    builder = GraphBuilder("layer")
    names = [builder.value(name, type_) for name, type_ in (("in", x), ("x", x), ("y", y), ("out", y))]
    operands = ["x"]
    if constants:
        data = np.array(constants, np.float32)
        type_ = TensorType(DType.FLOAT32, data.shape)
        if not x.dtype.is_float:
            type_ = TensorType(DType.INT8, data.shape, Quantization((0.25,), (-3,), None))
            data = (data / np.float32(0.25) - 3).astype(np.int8)
        operands.insert(0 if first else 1, builder.value("c", type_, data))
    builder.inputs.append(names[0])
    builder.node(BACKWARDS, ["in"], ["x"], "before")
    builder.node(op, operands, ["y"], "layer")
    builder.node(BACKWARDS, ["y"], ["out"], "after")
    builder.outputs.append(names[-1])
    return builder.build()


def pool(kind: type[AveragePool2D | MaxPool2D], kernel: int, activation: Activation = NONE) -> Op:
    below = kernel - 1
    return kind(kernel, kernel, 1, 1, Padding(0, below, 0, below), activation)


NEUTRAL: list[tuple[str, Graph]] = [
    ("times 1", layer(Mul(NONE), REAL, REAL, 1, 1)),
    ("1 times", layer(Mul(NONE), REAL, REAL, 1, first=True)),
    ("by 1", layer(Binary(BinaryFunction.DIV, NONE), REAL, REAL, 1)),
    ("minus 0", layer(Sub(NONE), REAL, REAL, 0.0)),
    ("plus -0", layer(Add(NONE), REAL, REAL, -0.0)),
    ("bytes plus 0", layer(Add(NONE), BYTES, BYTES, 0)),
    ("bytes minus 0", layer(Sub(NONE), HIGH, HIGH, 0, 0)),
    ("bytes at least the lowest", layer(Relu(RELU), BYTES, BYTES)),
    ("requantised to the same", layer(Quantize(), LOW, LOW)),
    ("padded by nothing", layer(Pad(((0, 0),) * 4), REAL, REAL)),
    ("windows of one", layer(pool(MaxPool2D, 1), BYTES, BYTES)),
    ("means of one", layer(pool(AveragePool2D, 1), LOW, LOW)),
    ("one part", layer(Concatenation(3, NONE), BYTES, BYTES)),
    ("the order it has", layer(Rearrange(SHAPE, 0, (12, 2), (2, 1)), REAL, REAL)),
]
OTHERS: list[tuple[str, Graph]] = [
    ("times nearly 1", layer(Mul(NONE), REAL, REAL, 1, 1.0000001)),
    ("times 1, clamped", layer(Mul(RELU), REAL, REAL, 1)),
    ("1 by", layer(Binary(BinaryFunction.DIV, NONE), REAL, REAL, 1, first=True)),
    ("0 minus", layer(Sub(NONE), REAL, REAL, 0.0, first=True)),
    ("minus -0", layer(Sub(NONE), REAL, REAL, -0.0)),
    ("plus 0", layer(Add(NONE), REAL, REAL, 0.0)),
    ("bytes plus a quarter step", layer(Add(NONE), BYTES, BYTES, 0, 0.25)),
    ("rectified", layer(Relu(RELU), LOW, LOW)),
    ("another zero point", layer(Quantize(), LOW, HIGH)),
    ("windows of two", layer(pool(MaxPool2D, 2), BYTES, BYTES)),
    ("windows of one, clamped", layer(pool(MaxPool2D, 1, RELU), LOW, LOW)),
    ("another order", layer(Rearrange(SHAPE, 0, (2, 12), (1, 2)), REAL, REAL)),
    ("another softmax", layer(Softmax(1.0), REAL, REAL)),
]


def passed(graph: Graph) -> tuple[Graph, Sequence[str]]:
    """What the pass makes of a graph, checked to be equal, and why layers stay."""
    said: list[str] = []
    after = identities.run(graph, BOARD, PassOptions(explain=said.append))
    assert (after.inputs, after.outputs) == (graph.inputs, graph.outputs)
    for seed in range(4):
        inputs = random_inputs(graph, np.random.default_rng(seed))
        for a, b in zip(run_graph(graph, inputs), run_graph(after, inputs), strict=True):
            np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))
    return after, said


@pytest.mark.parametrize("graph", [pytest.param(graph, id=label) for label, graph in NEUTRAL])
def test_what_computes_nothing_goes(graph: Graph) -> None:
    after, said = passed(graph)
    assert [node.name for node in after.nodes] == ["before", "after"]
    assert said == []


@pytest.mark.parametrize("graph", [pytest.param(graph, id=label) for label, graph in OTHERS])
def test_what_computes_something_stays(graph: Graph) -> None:
    assert identities.run(graph, BOARD, PassOptions()) is graph


LINE = """graph "line"
input %x: float32[1, 4]
constant %one: float32[1] = [1.0]
%a: float32[1, 4] = map(%x) function=abs @"a"
%b: float32[1, 4] = mul(%a, %one) activation=none @"b"
%c: float32[1, 4] = mul(%b, %one) activation=none @"c"
output %c
"""


def test_an_output_keeps_its_name() -> None:
    after, _ = passed(parse_graph(LINE))
    assert [(node.name, node.outputs) for node in after.nodes] == [("a", ("c",))]


def test_all_readers_follow() -> None:
    more = '%d: float32[1, 4] = map(%a) function=neg @"d"\n%e: float32[1, 4] = map(%b) function=neg @"e"\n'
    after, _ = passed(parse_graph(LINE.replace("output", f"{more}output") + "output %d\noutput %e\n"))
    assert [(node.name, node.inputs) for node in after.nodes] == [("a", ("x",)), ("d", ("c",)), ("e", ("c",))]


def test_two_outputs_stay_two() -> None:
    after, said = passed(parse_graph(LINE + "output %a\n"))
    assert [node.name for node in after.nodes] == ["a", "c"]
    assert said == ["identities: c stays, c leaves the network, and a enters or leaves it too"]


PASS_ON = """graph "pass_on"
input %x: float32[1, 4]
constant %one: float32[1] = [1.0]
%y: float32[1, 4] = mul(%x, %one) activation=none @"y"
output %y
"""


@pytest.mark.parametrize("cc", ["zig", "gcc"])
def test_a_layer_that_the_compiler_removes_counts_as_nothing(cc: str) -> None:
    """It overwrites its operand with itself, which compilers see: its function is not in the firmware."""
    if cc == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    graph = parse_graph(PASS_ON)
    assert print_graph(passed(graph)[0]) == print_graph(graph)
    program = midge.compile(graph, core="cortex-m4", cc=cc)
    found = {layer.name: layer.instructions for layer in program.run().layers}
    assert found["y"] == 0 and found["schedule"] > 0
    assert program.verify(samples=3).mismatches == 0


@pytest.mark.parametrize("cc", ["zig", "gcc"])
def test_equal_layers_are_counted_apart(cc: str) -> None:
    """Two layers of the same table in the same memory have the same code, which GCC would make one function of."""
    if cc == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    type_ = TensorType(DType.INT8, (1, 24), Quantization((1 / 128,), (0,), None))
    builder = GraphBuilder("equal")
    names = [builder.value(f"v{index}", type_) for index in range(4)]
    for x, y in itertools.pairwise(names):
        builder.node(Tanh(), [x], [y], y)
    builder.inputs.append(names[0])
    builder.outputs.append(names[-1])
    counts = [layer.instructions for layer in midge.compile(builder.build(), core="cortex-m4", cc=cc).run().layers]
    assert counts[0] > 24 and counts[0] == counts[1] == counts[2]
