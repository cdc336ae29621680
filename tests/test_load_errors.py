"""Malformed and unsupported files: always one clear error, never a traceback from a reader."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from midge.errors import MidgeError, ModelError, UnsupportedError, UsageError
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph
from midge.ir.text import print_graph
from midge.ir.types import DType, TensorType
from midge.load import load
from midge.load.tflite import graph_of
from midge.ops import CASES
from midge.ops.base import Activation, Op, Padding, Rounding
from midge.ops.conv2d import Conv2D
from midge.ops.map import Function, Map
from midge.ops.mean import Mean
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.write.tflite import write_tflite


def a_file(operator: str = "conv2d", case: str = "3x3_valid") -> bytes:
    table = {case.name: case for case in CASES[operator]}
    return write_tflite(table[case].build(np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no TensorFlow Lite model (the file is empty)"),
        (b"TFL", "no TensorFlow Lite model (only 3 bytes)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "no TensorFlow Lite model (it begins like a PNG image)"),
        (b"PK\x03\x04" + bytes(100), "no TensorFlow Lite model (it begins like a ZIP archive)"),
        (b"\x1c\x00\x00\x00TFL2" + bytes(100), "no TensorFlow Lite model (it begins with b'\\x1c\\x00\\x00\\x00TFL2')"),
        (b"\xff\xff\xff\x7fTFL3", "a damaged file (offsets that point nowhere)"),
        (b"\x08\x00\x00\x00TFL3", "a damaged file (offsets that point nowhere)"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes, found: str):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load(path)
    assert str(caught.value).startswith(f"model.tflite: {found}; expected ")


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "absent.tflite")
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(UsageError, match="litert or tflm"):
        load(tmp_path, numerics="exact")  # type: ignore[arg-type]


def test_other_formats_are_named(tmp_path: Path):
    path = tmp_path / "model.pb"
    path.write_bytes(b"\x08\x07\x12\x0bpytorch")
    with pytest.raises(
        UnsupportedError, match=r"model.pb: the TensorFlow format; expected a .tflite or .onnx file. Con"
    ):
        load(path)


def test_text_form_is_loaded_by_content(tmp_path: Path):
    graph = CASES["add"][0].build(np.random.default_rng(0))
    path = tmp_path / "graph.txt"
    path.write_text(print_graph(graph), encoding="utf-8")
    assert print_graph(load(path)) == print_graph(graph)


def test_every_truncation_is_refused_or_harmless():
    content = a_file()
    for length in range(0, len(content), 7):
        try_import(content[:length])


@pytest.mark.parametrize("seed", range(8))
def test_random_mutations_never_escape_as_other_errors(seed: int):
    rng = random.Random(seed)
    sources = [a_file(), a_file("fully_connected", "relu"), a_file("mean", "keep_dims"), a_file("pad", "same"),
               a_file("concatenation", "constant"), a_file("softmax", "c10")]  # fmt: skip
    words = [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x00\x00", b"\x01\x00\x00\x00"]
    for _ in range(60):
        content = bytearray(rng.choice(sources))
        for _ in range(rng.choice([1, 1, 2, 5])):
            place = rng.randrange(len(content) - 4)
            if rng.random() < 0.5:
                content[place : place + 4] = rng.choice(words)
            else:
                content[place] = rng.randrange(256)
        try_import(bytes(content))


def try_import(content: bytes) -> Graph | None:
    """The graph, or None where the file is refused; other exceptions than ours fail the test."""
    try:
        return graph_of(content, "model.tflite", "model")
    except MidgeError as error:
        assert str(error).startswith("model.tflite") and "\n" not in str(error)
        return None


class _Writer:
    """Graphs that break rules which the verifier would catch: built without it."""

    def __init__(self) -> None:
        self.builder = GraphBuilder("broken")

    def graph(self) -> Graph:
        b = self.builder
        return Graph(b.name, b.values, tuple(b.nodes), tuple(b.inputs), tuple(b.outputs))

    def floats(self, name: str, shape: tuple[int, ...], data: np.ndarray | None = None) -> str:
        return self.builder.value(name, TensorType(DType.FLOAT32, shape), data)


def one_op(op: Op, *types: TensorType, output: TensorType, constants: dict[int, np.ndarray] | None = None) -> bytes:
    writer = _Writer()
    constants = constants or {}
    names = [writer.builder.value(f"x{i}", type_, constants.get(i)) for i, type_ in enumerate(types)]
    writer.builder.inputs += [name for i, name in enumerate(names) if i not in constants]
    writer.builder.outputs.append(writer.builder.value("y", output))
    writer.builder.node(op, names, ["y"])
    return write_tflite(writer.graph())


def message_of(content: bytes) -> str:
    with pytest.raises(MidgeError) as caught:
        graph_of(content, "model.tflite", "model")
    return f"{type(caught.value).__name__}: {caught.value}"


F32 = DType.FLOAT32
INT8_IMAGE = TensorType(DType.INT8, (1, 4, 4, 1))
CONV = Conv2D(1, 1, 1, 1, Padding(0, 0, 0, 0), Activation.NONE, Rounding.DOUBLE)


def conv_file(x: TensorType, w_shape: tuple[int, ...], y: TensorType, w_dtype: DType = F32) -> bytes:
    weights = np.ones(w_shape, w_dtype.numpy)
    bias = np.zeros(w_shape[0], np.float32 if x.dtype.is_float else np.int32)
    return one_op(CONV, x, TensorType(w_dtype, w_shape), TensorType(DType.of(bias), bias.shape), output=y,
                  constants={1: weights, 2: bias})  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (conv_file(TensorType(F32, (2, 4, 4, 1)), (1, 1, 1, 1), TensorType(F32, (2, 4, 4, 1))),
         "UnsupportedError: model.tflite: 1 part of the model that Midge has no code for: CONV_2D (layer 0, 'y') on "
         "float32: a batch of 2. Replace them in the model, or convert it with int8 or float32 layers only"),
        (conv_file(INT8_IMAGE, (1, 1, 1, 1), INT8_IMAGE, DType.INT8),
         "ModelError: model.tflite: tensor 0 'x0': int8 without scale and zero point; expected a quantised tensor. "
         "Quantise the whole model, with calibration data"),
        (conv_file(TensorType(F32, (1, 4, 4, 3)), (4, 1, 1, 2), TensorType(F32, (1, 4, 4, 4))),
         "ModelError: model.tflite: CONV_2D (layer 0, 'y'): 3 channels with weights of shape [4, 1, 1, 2]; expected "
         "groups that divide both. Export the model again"),
        (conv_file(TensorType(F32, (1, 4, 4, 1)), (1, 1, 1, 1), TensorType(F32, (1, 4, 5, 1))),
         "ModelError: model.tflite: CONV_2D (layer 0, 'y'): a result of shape [1, 4, 5, 1]; expected [1, 4, 4, 1]. "
         "Export the model again"),
        (conv_file(TensorType(F32, (1, 4, 4, 1)), (1, 5, 5, 1), TensorType(F32, (1, 1, 1, 1))),
         "ModelError: model.tflite: CONV_2D (layer 0, 'y'): a result of shape [1, 1, 1, 1]; expected [1, 0, 0, 1]. "
         "Export the model again"),
        (one_op(Reshape((1, 5)), TensorType(F32, (1, 4)), output=TensorType(F32, (1, 5))),
         "ModelError: model.tflite: RESHAPE (layer 0, 'y'): the new shape [1, 5]; expected 4 elements, as the input "
         "has. Export the model again"),
        (one_op(Mean((7,), True), TensorType(F32, (1, 4)), output=TensorType(F32, (1, 1))),
         "ModelError: model.tflite: MEAN (layer 0, 'y'): axis 7; expected -2 to 1. Export the model again"),
        (one_op(Map(Function.ABS), TensorType(DType.INT16, (1, 4)), output=TensorType(DType.INT16, (1, 4))),
         "UnsupportedError: model.tflite: 1 part of the model that Midge has no code for: ABS (layer 0, 'y') on "
         "int16: operands of type int16. Replace them in the model, or convert it with int8 or float32 layers only"),
    ],
)  # fmt: skip
def test_message(content: bytes, expected: str):
    assert message_of(content) == expected


def test_data_shorter_than_its_shape():
    writer = _Writer()
    builder = writer.builder
    builder.inputs.append(writer.floats("x", (1, 4)))
    builder.value("w", TensorType(F32, (3, 4)), np.ones((3, 3), np.float32))
    builder.outputs.append(writer.floats("y", (1, 3)))
    builder.node(CASES["fully_connected"][0].build(np.random.default_rng(0)).nodes[0].op, ["x", "w", None], ["y"])
    assert message_of(write_tflite(writer.graph())) == (
        "ModelError: model.tflite: tensor 1 'w': 36 bytes of data; expected 48 for float32[3, 4]. "
        "Copy or export the model again"
    )


def test_layers_in_the_wrong_order():
    writer = _Writer()
    builder = writer.builder
    builder.inputs.append(writer.floats("x", (1, 4)))
    writer.floats("m", (1, 4))
    builder.outputs.append(writer.floats("y", (1, 4)))
    builder.node(Relu(Activation.RELU), ["m"], ["y"])
    builder.node(Relu(Activation.RELU), ["x"], ["m"])
    assert "tensor 1 'm' read before anything makes it" in message_of(write_tflite(writer.graph()))


def test_a_cycle_is_refused():
    writer = _Writer()
    builder = writer.builder
    builder.inputs.append(writer.floats("x", (1, 4)))
    builder.outputs.append(writer.floats("y", (1, 4)))
    builder.node(Relu(Activation.RELU), ["y"], ["y"])
    assert "read before anything makes it" in message_of(write_tflite(writer.graph()))


def test_names_become_unique_and_dead_layers_go():
    writer = _Writer()
    builder = writer.builder
    builder.inputs.append(writer.floats("x", (1, 4)))
    for index, name in enumerate(("a", "dead", "b")):
        builder.value(name, TensorType(F32, (1, 4)))
        builder.node(Relu(Activation.RELU), ["x" if index < 2 else "a"], [name])
    builder.outputs.append("b")
    content = write_tflite(writer.graph())
    graph = graph_of(content.replace(b"\x01\x00\x00\x00b\x00", b"\x01\x00\x00\x00a\x00"), "m.tflite", "m")
    assert list(graph.values) == ["x", "a", "a_2"] and len(graph.nodes) == 2


def test_constants_are_folded():
    writer = _Writer()
    builder = writer.builder
    builder.inputs.append(writer.floats("x", (1, 4)))
    writer.floats("c", (1, 4), np.array([[-1, 2, -3, 4]], np.float32))
    writer.floats("r", (1, 4))
    builder.outputs.append(writer.floats("y", (1, 4)))
    builder.node(Relu(Activation.RELU), ["c"], ["r"])
    builder.node(CASES["add"][0].build(np.random.default_rng(0)).nodes[0].op, ["x", "r"], ["y"])
    graph = graph_of(write_tflite(writer.graph()), "m.tflite", "m")
    assert [node.op.name for node in graph.nodes] == ["add"]
    (y,) = run_graph(graph, [np.ones((1, 4), np.float32)])
    assert y.tolist() == [[1, 3, 1, 5]]
