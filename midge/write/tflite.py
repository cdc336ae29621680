"""Writes graphs as .tflite files: what LiteRT and TensorFlow Lite Micro compute from them is what the graph does."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import tflite

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Padding
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.mean import Mean
from midge.ops.pad import Pad
from midge.ops.rearrange import Rearrange
from midge.ops.reduce import Reduce
from midge.ops.svdf import Svdf
from midge.ops.take import Take
from midge.ops.transposed_conv2d import TransposedConv2D
from midge.ops.windows import Window
from midge.write.tflite_further import FURTHER, Further
from midge.write.tflite_options import ELEMENT_TYPES, SAME, VALID, VERSION, VERSIONS, same_padding, written

_WEIGHTED = (Conv2D, DepthwiseConv2D, FullyConnected, TransposedConv2D)


def write_tflite(graph: Graph) -> bytes:
    """The graph as a .tflite file (schema version 3).

    Explicit padding that is neither SAME nor VALID becomes a PAD before the layer; orders of elements become GATHER by
    positions. Raises UnsupportedError where the format has no equal.
    """
    return _Writer(graph).finish()


class _Writer:
    """The flatbuffer that is being built: tensors, buffers and operators by their offsets."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = flatbuffers.Builder(1 << 16)
        self.tensors: list[int] = []
        self.buffers: list[int] = [self._buffer(None)]
        self.index: dict[str, int] = {}
        self.codes: list[str] = []
        self.operators: list[int] = []

    def finish(self) -> bytes:
        self._check_states()
        for name, value in self.graph.values.items():
            if not self._is_positions(name):
                self.index[name] = self._tensor(name, value.type, value.data)
        for node in self.graph.nodes:
            self._node(node)
        return self._model()

    def _check_states(self) -> None:
        """Guard: states are what SVDF layers keep; runtimes change them in place."""
        layers = [node for node in self.graph.nodes if isinstance(node.op, Svdf)]
        kept = {(node.inputs[4], node.outputs[1]) for node in layers}
        for state in self.graph.states:
            if (state.before, state.after) not in kept or np.any(
                state.initial != self.graph.type(state.before).zero_point
            ):
                raise UnsupportedError(self.graph.name, f"the state {state.before} has no equal in .tflite files")
        if len(kept) != len(self.graph.states):
            raise UnsupportedError(self.graph.name, "an SVDF layer whose memory is no state")

    def _is_positions(self, name: str) -> bool:
        """True for the table of a `take`, which is written where it is used."""
        return any(isinstance(node.op, Take) and node.inputs[1] == name for node in self.graph.nodes)

    def _buffer(self, data: np.ndarray | None) -> int:
        vector = self.builder.CreateByteVector(data.tobytes()) if data is not None else None
        tflite.BufferStart(self.builder)
        if vector is not None:
            tflite.BufferAddData(self.builder, vector)
        return tflite.BufferEnd(self.builder)

    def _tensor(self, name: str, type_: TensorType, data: np.ndarray | None) -> int:
        buffer = 0
        if data is not None:
            self.buffers.append(self._buffer(data))
            buffer = len(self.buffers) - 1
        builder = self.builder
        label = builder.CreateString(name)
        shape = builder.CreateNumpyVector(np.array(type_.shape, np.int32))
        quantization = self._quantization(type_.quantization) if type_.quantization is not None else None
        tflite.TensorStart(builder)
        tflite.TensorAddName(builder, label)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, ELEMENT_TYPES[type_.dtype])
        tflite.TensorAddBuffer(builder, buffer)
        if quantization is not None:
            tflite.TensorAddQuantization(builder, quantization)
        tflite.TensorAddIsVariable(builder, any(state.before == name for state in self.graph.states))
        self.tensors.append(tflite.TensorEnd(builder))
        return len(self.tensors) - 1

    def _quantization(self, quantization: Quantization) -> int:
        scales = self.builder.CreateNumpyVector(np.array(quantization.scales, np.float32))
        zero_points = self.builder.CreateNumpyVector(np.array(quantization.zero_points, np.int64))
        tflite.QuantizationParametersStart(self.builder)
        tflite.QuantizationParametersAddScale(self.builder, scales)
        tflite.QuantizationParametersAddZeroPoint(self.builder, zero_points)
        tflite.QuantizationParametersAddQuantizedDimension(self.builder, quantization.axis or 0)
        return tflite.QuantizationParametersEnd(self.builder)

    def _constant(self, array: np.ndarray) -> int:
        type_ = TensorType(DType.of(array), array.shape)
        return self._tensor(f"constant_{len(self.tensors)}", type_, array)

    def _node(self, node: Node) -> None:
        op, padding = node.op, VALID
        if isinstance(op, _WEIGHTED) and _has_wide_weights(self.graph, node):
            raise UnsupportedError(node.name, "weights of 16 bits have no equal in .tflite files")
        if op.name in FURTHER:
            self._further(node, FURTHER[op.name](self.graph, node))
            return
        inputs = [self.index[name] for name in node.inputs if name in self.index]
        outputs = [self.index[name] for name in node.outputs]
        if "conv2d" in op.name and node.inputs[2] is None:  # LiteRT refuses convolutions without a bias
            x, output = self.graph.type(node.inputs[0] or ""), self.graph.output_types(node)[0]
            dtype = {DType.FLOAT32: np.float32, DType.INT16: np.int64}.get(x.dtype, np.int32)
            inputs.append(self._constant(np.zeros(output.channels, dtype)))
        if isinstance(op, Pad):
            inputs.append(self._constant(np.array(op.paddings, np.int32)))
        elif isinstance(op, Mean | Reduce):
            inputs.append(self._constant(np.array(op.axes, np.int32)))
        elif isinstance(op, Rearrange | Take):
            inputs = [self._flat(node), self._constant(self._positions(node))]
        elif isinstance(op, Svdf):
            inputs, outputs = [-1 if name is None else self.index[name] for name in node.inputs], outputs[:1]
        elif hasattr(op, "padding"):
            inputs[0], padding = self._padding(node, inputs[0])
        found = written(self.graph, node, padding)
        shape = op.shape if op.name == "reshape" else None  # type: ignore[attr-defined]
        options = self._options(found.title, found.fields, shape) if found.title else None
        self._operator(found.code, inputs, outputs, found.title, options)

    def _further(self, node: Node, found: Further) -> None:
        """An operator that says itself in which order its operands stand."""
        inputs = [self.index[part] if isinstance(part, str) else self._constant(part) for part in found.operands]
        options = self._options(found.title, found.fields, None) if found.title else None
        self._operator(found.code, inputs, [self.index[name] for name in node.outputs], found.title, options)

    def _flat(self, node: Node) -> int:
        """The first operand as one row of elements."""
        type_ = self.graph.type(node.inputs[0] or "")
        flat = TensorType(type_.dtype, (type_.elements,), type_.quantization)
        target = self._tensor(f"flat_{len(self.tensors)}", flat, None)
        options = self._options("ReshapeOptions", {}, flat.shape)
        self._operator("RESHAPE", [self.index[node.inputs[0] or ""]], [target], "ReshapeOptions", options)
        return target

    def _positions(self, node: Node) -> np.ndarray:
        if isinstance(node.op, Rearrange):
            return node.op.positions().astype(np.int32).reshape(node.op.shape)
        positions = self.graph.constant(node.inputs[1])
        assert positions is not None
        return positions

    def _padding(self, node: Node, source: int) -> tuple[int, int]:
        """The tensor to read and the padding scheme that give the node's explicit padding."""
        pad: Padding = node.op.padding  # type: ignore[attr-defined]
        if pad == Padding(0, 0, 0, 0):
            return source, VALID
        x = self.graph.type(node.inputs[0] or "")
        if pad == same_padding(_window(self.graph, node), x.shape[1], x.shape[2]):
            return source, SAME
        if "pool" in node.op.name:
            raise UnsupportedError(node.name, "a pool with explicit padding has no equal in .tflite files")
        pairs = ((0, 0), (pad.top, pad.bottom), (pad.left, pad.right), (0, 0))
        shape = tuple(size + sum(pair) for size, pair in zip(x.shape, pairs, strict=True))
        target = self._tensor(f"padded_{len(self.tensors)}", TensorType(x.dtype, shape, x.quantization), None)
        self._operator("PAD", [source, self._constant(np.array(pairs, np.int32))], [target], "", None)
        return target, VALID

    def _operator(self, code: str, inputs: list[int], outputs: list[int], title: str, options: int | None) -> None:
        builder = self.builder
        if code not in self.codes:
            self.codes.append(code)
        in_vector = builder.CreateNumpyVector(np.array(inputs, np.int32))
        out_vector = builder.CreateNumpyVector(np.array(outputs, np.int32))
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, self.codes.index(code))
        tflite.OperatorAddInputs(builder, in_vector)
        tflite.OperatorAddOutputs(builder, out_vector)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, title))
            tflite.OperatorAddBuiltinOptions(builder, options)
        self.operators.append(tflite.OperatorEnd(builder))

    def _options(self, title: str, fields: dict[str, Any], shape: tuple[int, ...] | None) -> int:
        """The offset of a builtin options table."""
        vector = None if shape is None else self.builder.CreateNumpyVector(np.array(shape, np.int32))
        getattr(tflite, f"{title}Start")(self.builder)
        for name, value in fields.items():
            getattr(tflite, f"{title}Add{name}")(self.builder, value)
        if vector is not None:
            getattr(tflite, f"{title}AddNewShape")(self.builder, vector)
        return getattr(tflite, f"{title}End")(self.builder)

    def _vector(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def _model(self) -> bytes:
        builder, graph = self.builder, self.graph
        tensors, operators = self._vector(self.tensors), self._vector(self.operators)
        buffers = self._vector(self.buffers)
        inputs = builder.CreateNumpyVector(np.array([self.index[name] for name in graph.inputs], np.int32))
        outputs = builder.CreateNumpyVector(np.array([self.index[name] for name in graph.outputs], np.int32))
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operators)
        subgraphs = self._vector([tflite.SubGraphEnd(builder)])
        codes = []
        for code in self.codes:
            number = getattr(tflite.BuiltinOperator, code)
            tflite.OperatorCodeStart(builder)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, 127))
            tflite.OperatorCodeAddBuiltinCode(builder, number)
            tflite.OperatorCodeAddVersion(builder, VERSIONS.get(code, VERSION))
            codes.append(tflite.OperatorCodeEnd(builder))
        code_vector = self._vector(codes)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, code_vector)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())


def _has_wide_weights(graph: Graph, node: Node) -> bool:
    weights = graph.values.get(node.inputs[1] or "")
    return weights is not None and weights.is_constant and weights.type.dtype is DType.INT16


def _window(graph: Graph, node: Node) -> Window:
    op: Any = node.op
    return op.window() if "pool" in op.name else op.window(graph.type(node.inputs[1] or ""))
