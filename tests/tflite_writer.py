"""Writes Midge graphs as .tflite files, so that LiteRT can run the operators' test cases."""

from __future__ import annotations

import flatbuffers
import numpy as np
import tflite

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Activation, Padding
from midge.ops.windows import Window

_DTYPES = {
    DType.FLOAT32: tflite.TensorType.FLOAT32, DType.INT8: tflite.TensorType.INT8, DType.UINT8: tflite.TensorType.UINT8,
    DType.INT16: tflite.TensorType.INT16, DType.INT32: tflite.TensorType.INT32, DType.INT64: tflite.TensorType.INT64,
}  # fmt: skip
_ACTIVATIONS = {Activation.NONE: 0, Activation.RELU: 1, Activation.RELU_N1_TO_1: 2, Activation.RELU6: 3}
_CODES = {
    "conv2d": "CONV_2D", "conv2d_hybrid": "CONV_2D", "depthwise_conv2d": "DEPTHWISE_CONV_2D",
    "fully_connected": "FULLY_CONNECTED", "average_pool2d": "AVERAGE_POOL_2D", "max_pool2d": "MAX_POOL_2D",
    "add": "ADD", "sub": "SUB", "mul": "MUL", "softmax": "SOFTMAX", "reshape": "RESHAPE", "pad": "PAD",
    "logistic": "LOGISTIC", "tanh": "TANH", "quantize": "QUANTIZE", "dequantize": "DEQUANTIZE", "mean": "MEAN",
    "concatenation": "CONCATENATION",
}  # fmt: skip
_RELUS = {Activation.RELU: "RELU", Activation.RELU6: "RELU6", Activation.RELU_N1_TO_1: "RELU_N1_TO_1"}
_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 5, "DEPTHWISE_CONV_2D": 5, "RESHAPE": 1, "RELU_N1_TO_1": 1}
"""Versions tell the runtime which operand types to expect."""
SAME, VALID = 0, 1


class CannotWriteError(Exception):
    """The node has no equal in the .tflite format."""


def write_tflite(graph: Graph) -> bytes:
    """The graph as a .tflite file; explicit paddings that are neither SAME nor VALID become a PAD before the node."""
    return _Writer(graph).finish()


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = flatbuffers.Builder(1 << 16)
        self.tensors: list[int] = []
        self.buffers: list[int] = [self._buffer(None)]
        self.index: dict[str, int] = {}
        self.codes: list[str] = []
        self.operators: list[int] = []

    def finish(self) -> bytes:
        for name, value in self.graph.values.items():
            self.index[name] = self._tensor(name, value.type, value.data)
        for node in self.graph.nodes:
            self._node(node)
        return self._model()

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
        tflite.TensorAddType(builder, _DTYPES[type_.dtype])
        tflite.TensorAddBuffer(builder, buffer)
        if quantization is not None:
            tflite.TensorAddQuantization(builder, quantization)
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
        inputs = [self.index[name] for name in node.inputs if name is not None]
        if "conv2d" in node.op.name and node.inputs[2] is None:  # LiteRT refuses convolutions without a bias
            x, output = self.graph.type(node.inputs[0] or ""), self.graph.output_types(node)[0]
            inputs.append(self._constant(np.zeros(output.channels, np.float32 if x.dtype.is_float else np.int32)))
        outputs = [self.index[name] for name in node.outputs]
        op = node.op
        code = _RELUS[op.activation] if op.name == "relu" else _CODES.get(op.name)  # type: ignore[attr-defined]
        if code is None:
            raise CannotWriteError(op.name)
        if op.name == "pad":
            inputs.append(self._constant(np.array(op.paddings, np.int32)))  # type: ignore[attr-defined]
        if op.name == "mean":
            inputs.append(self._constant(np.array(op.axes, np.int32)))  # type: ignore[attr-defined]
        padding = VALID
        if hasattr(op, "padding"):
            inputs[0], padding = self._padding(node, inputs[0])
        kind, options = self._options(node, padding)
        self._operator(code, inputs, outputs, kind, options)

    def _padding(self, node: Node, source: int) -> tuple[int, int]:
        """The tensor to read and the padding scheme that give the node's explicit padding."""
        pad: Padding = node.op.padding  # type: ignore[attr-defined]
        if pad == Padding(0, 0, 0, 0):
            return source, VALID
        x = self.graph.type(node.inputs[0] or "")
        if pad == same_padding(_window(self.graph, node), x.shape[1], x.shape[2]):
            return source, SAME
        if "pool" in node.op.name:
            raise CannotWriteError("a pool with explicit padding")
        pairs = ((0, 0), (pad.top, pad.bottom), (pad.left, pad.right), (0, 0))
        shape = tuple(size + sum(pair) for size, pair in zip(x.shape, pairs, strict=True))
        target = self._tensor(f"padded_{len(self.tensors)}", TensorType(x.dtype, shape, x.quantization), None)
        self._operator("PAD", [source, self._constant(np.array(pairs, np.int32))], [target], 0, None)
        return target, VALID

    def _operator(self, code: str, inputs: list[int], outputs: list[int], kind: int, options: int | None) -> None:
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
            tflite.OperatorAddBuiltinOptionsType(builder, kind)
            tflite.OperatorAddBuiltinOptions(builder, options)
        self.operators.append(tflite.OperatorEnd(builder))

    def _options(self, node: Node, padding: int) -> tuple[int, int | None]:
        """The builtin options table: its union type and offset."""
        op, builder, kinds = node.op, self.builder, tflite.BuiltinOptions
        fields = {name: getattr(op, name) for name in op.__dataclass_fields__}  # type: ignore[attr-defined]
        activation = _ACTIVATIONS[fields.get("activation", Activation.NONE)]
        title = {"conv2d": "Conv2DOptions", "conv2d_hybrid": "Conv2DOptions",
                 "depthwise_conv2d": "DepthwiseConv2DOptions", "fully_connected": "FullyConnectedOptions",
                 "average_pool2d": "Pool2DOptions", "max_pool2d": "Pool2DOptions", "add": "AddOptions",
                 "sub": "SubOptions", "mul": "MulOptions", "softmax": "SoftmaxOptions", "mean": "ReducerOptions",
                 "reshape": "ReshapeOptions", "concatenation": "ConcatenationOptions"}.get(op.name)  # fmt: skip
        if title is None:
            return 0, None
        shape = builder.CreateNumpyVector(np.array(op.shape, np.int32)) if op.name == "reshape" else None  # type: ignore[attr-defined]
        getattr(tflite, f"{title}Start")(builder)

        def add(field: str, value: object) -> None:
            getattr(tflite, f"{title}Add{field}")(builder, value)

        if "stride_h" in fields:
            add("Padding", padding)
            add("StrideH", fields["stride_h"])
            add("StrideW", fields["stride_w"])
        if "dilation_h" in fields:
            add("DilationHFactor", fields["dilation_h"])
            add("DilationWFactor", fields["dilation_w"])
        if "kernel_h" in fields:
            add("FilterHeight", fields["kernel_h"])
            add("FilterWidth", fields["kernel_w"])
        for field, name in (("DepthMultiplier", "depth_multiplier"), ("Beta", "beta"), ("Axis", "axis")):
            if name in fields:
                add(field, fields[name])
        if "keep_dims" in fields:
            add("KeepNumDims" if op.name == "fully_connected" else "KeepDims", fields["keep_dims"])
        if "activation" in fields:
            add("FusedActivationFunction", activation)
        if shape is not None:
            add("NewShape", shape)
        return getattr(kinds, title), getattr(tflite, f"{title}End")(builder)

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
            tflite.OperatorCodeAddVersion(builder, _VERSIONS.get(code, 2))
            codes.append(tflite.OperatorCodeEnd(builder))
        code_vector = self._vector(codes)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, code_vector)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())


def _window(graph: Graph, node: Node) -> Window:
    op = node.op
    if "pool" in op.name:
        return op.window()  # type: ignore[attr-defined]
    return op.window(graph.type(node.inputs[1] or ""))  # type: ignore[attr-defined]


def same_padding(window: Window, height: int, width: int) -> Padding:
    """The padding that the SAME scheme stands for."""

    def split(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        span = (kernel - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        return total // 2, total - total // 2

    rows = split(height, window.kernel_h, window.stride_h, window.dilation_h)
    columns = split(width, window.kernel_w, window.stride_w, window.dilation_w)
    return Padding(*rows, *columns)
