"""Writes graphs as .onnx files: float32, and integers in QDQ form. Inputs and outputs keep the graph's axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from midge import __version__
from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Padding
from midge.ops.windows import Window
from midge.write.onnx_functions import function_nodes

OPSET, OPSET_S16 = 20, 21
"""int16 came with 21."""
_IR_VERSIONS = {OPSET: 9, OPSET_S16: 10}
_TO_FIRST, _TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def write_onnx(graph: Graph) -> bytes:
    """The graph as an .onnx file of opset 20, or of 21 where it has values of int16.

    Integers stand between QuantizeLinear and DequantizeLinear; convolutions and pools between transposes, which
    runtimes take out again. Raises UnsupportedError where the format has no equal. Source: ONNX Operators, opset 21.
    """
    return _Writer(graph).finish()


class _Writer:
    """The nodes and constants so far. `reals` holds for each value of the graph the float tensor that stands for it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.reals: dict[str, str] = {}
        self.count = 0
        has_s16 = any(value.type.dtype is DType.INT16 for value in graph.values.values())
        self.opset = OPSET_S16 if has_s16 else OPSET

    def finish(self) -> bytes:
        from onnx import checker, helper

        inputs = [self._input(name) for name in self.graph.inputs]
        for node in self.graph.nodes:
            self._node(node)
        outputs = [self._output(name) for name in self.graph.outputs]
        made = helper.make_graph(self.nodes, self.graph.name, inputs, outputs, self.constants)
        model = helper.make_model(
            made, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=_IR_VERSIONS[self.opset],
            producer_name="midge", producer_version=__version__,
        )  # fmt: skip
        checker.check_model(model)
        return model.SerializeToString()

    def op(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node; returns its result."""
        from onnx import helper

        self.count += 1
        name = output or f"{kind.lower()}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], f"{kind}_{self.count}", **attributes))
        return name

    def constant(self, array: Any, label: str = "constant") -> str:
        from onnx import numpy_helper

        self.count += 1
        name = f"{label}_{self.count}"
        self.constants.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def _input(self, name: str) -> Any:
        from onnx import helper

        type_ = self.graph.type(name)
        if type_.quantization is not None:
            self.reals[name] = self._dequantized(name, type_)
        else:
            self.reals[name] = name
        return helper.make_tensor_value_info(name, _element(type_), type_.shape)

    def _output(self, name: str) -> Any:
        from onnx import helper

        type_ = self.graph.type(name)
        if type_.quantization is not None:
            self._quantized(self.reals[name], type_, name)
        else:
            self.op("Identity", [self.reals[name]], name)
        return helper.make_tensor_value_info(name, _element(type_), type_.shape)

    def _scale(self, type_: TensorType) -> list[str]:
        quantization = type_.quantization
        assert quantization is not None
        if type_.dtype not in (DType.INT8, DType.UINT8, DType.INT16):
            raise UnsupportedError(self.graph.name, f"{type_.dtype.value} values", "int8, uint8 or int16")
        scale = np.array(quantization.scales if quantization.axis is not None else quantization.scale, np.float32)
        zero = np.array(quantization.zero_points if quantization.axis is not None else quantization.zero_point)
        return [self.constant(scale, "scale"), self.constant(zero.astype(type_.dtype.numpy), "zero_point")]

    def _quantized(self, real: str, type_: TensorType, output: str | None = None) -> str:
        return self.op("QuantizeLinear", [real, *self._scale(type_)], output)

    def _dequantized(self, integers: str, type_: TensorType) -> str:
        assert type_.quantization is not None
        axis = type_.quantization.axis
        return self.op(
            "DequantizeLinear", [integers, *self._scale(type_)], None, **({} if axis is None else {"axis": axis})
        )

    def real(self, name: str | None) -> str:
        """The float tensor of an operand; constants are added when used."""
        assert name is not None
        if name not in self.reals:
            value = self.graph.values[name]
            assert value.data is not None
            made = self.constant(value.data, "weights")
            self.reals[name] = made if value.type.quantization is None else self._dequantized(made, value.type)
        return self.reals[name]

    def _moved(self, kind: str, name: str | None, *more: str, **attributes: Any) -> str:
        """The values of an operand elsewhere, by an operator that only moves them.

        Beside int16 those of int8 are integers once more behind it: in opset 21 ONNX Runtime 1.32 would put such a pair
        of conversions there itself, and fails at it.
        """
        made, type_ = self.op(kind, [self.real(name), *more], None, **attributes), self.graph.type(name or "")
        if self.opset == OPSET or type_.dtype not in (DType.INT8, DType.UINT8):
            return made
        return self._dequantized(self._quantized(made, type_), type_)

    def _node(self, node: Node) -> None:
        rows: dict[str, Callable[[Node], str]] = {
            "conv2d": self._conv, "depthwise_conv2d": self._conv, "fully_connected": self._connected,
            "average_pool2d": self._pool, "max_pool2d": self._pool, "reshape": self._reshape, "copy": self._same,
            "quantize": self._same, "dequantize": self._same, "rearrange": self._take, "take": self._take,
        }  # fmt: skip
        row = rows.get(node.op.name)
        made = row(node) if row is not None else function_nodes(self, node)
        if made is None:
            raise UnsupportedError(node.name, f"{node.op.name} has no equal in .onnx files")
        made = self._activated(made, getattr(node.op, "activation", Activation.NONE), node)
        name, type_ = node.outputs[0], self.graph.type(node.outputs[0])
        if type_.quantization is not None:
            made = self._dequantized(self._quantized(made, type_), type_)
        self.reals[name] = made

    def _activated(self, real: str, activation: Activation, node: Node) -> str:
        if activation is Activation.NONE or node.op.name == "relu":
            return real
        if activation is Activation.RELU:
            return self.op("Relu", [real])
        low, high = activation.real_bounds
        return self.op("Clip", [real, self.constant(np.float32(low)), self.constant(np.float32(high))])

    def _conv(self, node: Node) -> str:
        op: Any = node.op
        weights_name = node.inputs[1] or ""
        weights = self.graph.values[weights_name]
        assert weights.data is not None
        depthwise = op.name == "depthwise_conv2d"
        axes = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        x = self.graph.type(node.inputs[0] or "")
        groups = x.channels if depthwise else x.channels // weights.type.shape[3]
        type_ = weights.type
        if type_.quantization is not None and type_.quantization.axis is not None:
            quantization = type_.quantization
            scales = type(quantization)(quantization.scales, quantization.zero_points, 0)
            type_ = TensorType(type_.dtype, type_.shape, scales)
        tensor = self.constant(weights.data.transpose(axes), "weights")
        tensor = tensor if type_.quantization is None else self._dequantized(tensor, type_)
        operands = [self._moved("Transpose", node.inputs[0], perm=_TO_FIRST), tensor]
        if node.inputs[2] is not None:
            operands.append(self._bias(node))
        window = op.window(weights.type)
        made = self.op(
            "Conv", operands, None, group=groups, dilations=[op.dilation_h, op.dilation_w], **_window(window)
        )
        return self.op("Transpose", [made], perm=_TO_LAST)

    def _bias(self, node: Node) -> str:
        """float32, or int32 in the scale of the accumulators; what int32 has no room for is float32 too."""
        bias = self.graph.constant(node.inputs[2])
        x, weights = self.graph.type(node.inputs[0] or ""), self.graph.type(node.inputs[1] or "")
        assert bias is not None
        if bias.dtype == np.float32:
            return self.constant(bias, "bias")
        assert x.quantization is not None and weights.quantization is not None
        scales = np.float32(x.quantization.scale) * np.array(weights.quantization.scales, np.float32)
        if np.abs(bias.astype(np.int64)).max(initial=0) >= 2**31:
            return self.constant((bias * scales.astype(np.float64)).astype(np.float32), "bias")
        tensor = self.constant(bias.astype(np.int32), "bias")
        if scales.size == 1:
            return self.op("DequantizeLinear", [tensor, self.constant(scales[0], "scale")])
        zeros = self.constant(np.zeros(scales.size, np.int32), "zero_point")
        return self.op("DequantizeLinear", [tensor, self.constant(scales, "scale"), zeros], axis=0)

    def _connected(self, node: Node) -> str:
        op: Any = node.op
        depth = self.graph.type(node.inputs[1] or "").shape[1]
        flat = self._moved("Reshape", node.inputs[0], self.constant(np.array([-1, depth], np.int64), "shape"))
        operands = [flat, self.real(node.inputs[1])]
        if node.inputs[2] is not None:
            operands.append(self._bias(node))
        made = self.op("Gemm", operands, transB=1)
        shape = self.graph.type(node.outputs[0]).shape
        if not op.keep_dims or len(shape) == 2:
            return made
        return self.op("Reshape", [made, self.constant(np.array(shape, np.int64), "shape")])

    def _pool(self, node: Node) -> str:
        op: Any = node.op
        x = self._moved("Transpose", node.inputs[0], perm=_TO_FIRST)
        attributes = {"kernel_shape": [op.kernel_h, op.kernel_w], **_window(op.window())}
        made = self.op("MaxPool" if op.name == "max_pool2d" else "AveragePool", [x], None, **attributes)
        return self.op("Transpose", [made], perm=_TO_LAST)

    def _reshape(self, node: Node) -> str:
        shape = np.array(self.graph.type(node.outputs[0]).shape, np.int64)
        return self.op("Reshape", [self.real(node.inputs[0]), self.constant(shape, "shape")])

    def _same(self, node: Node) -> str:
        """Changes of scale and type happen between the operators, by QuantizeLinear and DequantizeLinear."""
        return self.real(node.inputs[0])

    def _take(self, node: Node) -> str:
        op: Any = node.op
        shape = self.graph.type(node.outputs[0]).shape
        positions = op.positions().reshape(shape) if op.name == "rearrange" else self.graph.constant(node.inputs[1])
        flat = self._moved("Reshape", node.inputs[0], self.constant(np.array([-1], np.int64), "shape"))
        return self.op("Gather", [flat, self.constant(np.asarray(positions, np.int64), "positions")], axis=0)


def _window(window: Window) -> dict[str, list[int]]:
    pad: Padding = window.padding
    return {"strides": [window.stride_h, window.stride_w], "pads": [pad.top, pad.left, pad.bottom, pad.right]}


def _element(type_: TensorType) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(type_.dtype.numpy) if type_.dtype is not DType.BOOL else 9
