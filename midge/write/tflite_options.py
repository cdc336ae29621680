"""How operators of the graph are named in .tflite files, and what stands in their options tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tflite

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.ops import binary, map, reduce
from midge.ops.base import Activation, Padding
from midge.ops.relu import Relu
from midge.ops.windows import Window

SAME, VALID = 0, 1
"""Padding schemes."""
ELEMENT_TYPES = {
    DType.FLOAT32: tflite.TensorType.FLOAT32, DType.INT8: tflite.TensorType.INT8, DType.UINT8: tflite.TensorType.UINT8,
    DType.INT16: tflite.TensorType.INT16, DType.INT32: tflite.TensorType.INT32, DType.INT64: tflite.TensorType.INT64,
    DType.BOOL: tflite.TensorType.BOOL,
}  # fmt: skip
ACTIVATIONS = {Activation.NONE: 0, Activation.RELU: 1, Activation.RELU_N1_TO_1: 2, Activation.RELU6: 3}
_RELUS = {Activation.RELU: "RELU", Activation.RELU6: "RELU6", Activation.RELU_N1_TO_1: "RELU_N1_TO_1"}
_CODES = {
    "conv2d": ("CONV_2D", "Conv2DOptions"), "conv2d_hybrid": ("CONV_2D", "Conv2DOptions"),
    "depthwise_conv2d": ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"),
    "fully_connected": ("FULLY_CONNECTED", "FullyConnectedOptions"),
    "average_pool2d": ("AVERAGE_POOL_2D", "Pool2DOptions"), "max_pool2d": ("MAX_POOL_2D", "Pool2DOptions"),
    "add": ("ADD", "AddOptions"), "sub": ("SUB", "SubOptions"), "mul": ("MUL", "MulOptions"),
    "softmax": ("SOFTMAX", "SoftmaxOptions"), "reshape": ("RESHAPE", "ReshapeOptions"),
    "pad": ("PAD", ""), "logistic": ("LOGISTIC", ""), "tanh": ("TANH", ""), "quantize": ("QUANTIZE", ""),
    "dequantize": ("DEQUANTIZE", ""), "mean": ("MEAN", "ReducerOptions"),
    "leaky_relu": ("LEAKY_RELU", "LeakyReluOptions"), "svdf": ("SVDF", "SVDFOptions"),
    "concatenation": ("CONCATENATION", "ConcatenationOptions"),
    "rearrange": ("GATHER", "GatherOptions"), "take": ("GATHER", "GatherOptions"),
}  # fmt: skip
_FUNCTIONS = {
    map.Function.GELU: ("GELU", "GeluOptions"), map.Function.GELU_TANH: ("GELU", "GeluOptions"),
}  # fmt: skip
_PAIRS = {binary.Function.DIV: ("DIV", "DivOptions"), binary.Function.POWER: ("POW", "")}
_TOTALS = {
    reduce.Function.MAX: "REDUCE_MAX", reduce.Function.MIN: "REDUCE_MIN", reduce.Function.PROD: "REDUCE_PROD",
    reduce.Function.SUM: "SUM",
}  # fmt: skip
_NOT_THERE = (map.Function.ATAN, map.Function.ERF, map.Function.RECIPROCAL, map.Function.TRUNC)
_FIELDS = {
    "stride_h": "StrideH", "stride_w": "StrideW", "dilation_h": "DilationHFactor", "dilation_w": "DilationWFactor",
    "kernel_h": "FilterHeight", "kernel_w": "FilterWidth", "depth_multiplier": "DepthMultiplier", "beta": "Beta",
    "axis": "Axis", "alpha": "Alpha", "rank": "Rank",
}  # fmt: skip
_WITH_BIAS_TYPE = ("Conv2DOptions", "FullyConnectedOptions")
"""Options that tell a runtime the type of the bias beside activations of int16: int64 where they don't."""
VERSIONS = {
    "CONV_2D": 5, "DEPTHWISE_CONV_2D": 5, "FULLY_CONNECTED": 5, "PRELU": 1, "TRANSPOSE_CONV": 4,
    **dict.fromkeys(("CEIL", "COS", "CUMSUM", "ELU", "FLOOR", "HARD_SWISH", "LOG", "NEG", "POW", "RELU_N1_TO_1",
                     "RESHAPE", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT", "SQUARE", "SQUARED_DIFFERENCE"), 1),
}  # fmt: skip
"""Versions of operators tell a runtime which types of operands to expect; 2 for all others."""
VERSION = 2


@dataclass(frozen=True, slots=True)
class Written:
    """An operator's code, the name of its options table (empty: none), and the table's fields."""

    code: str
    title: str
    fields: dict[str, Any] = field(default_factory=dict)


def written(graph: Graph, node: Node, padding: int) -> Written:
    """The code and options of a node. Raises UnsupportedError where the format has no such operator."""
    code, title = _code(node)
    op: Any = node.op
    y = graph.type(node.outputs[0])
    present = {name: getattr(op, name) for name in op.__dataclass_fields__}
    fields: dict[str, Any] = {}
    if title:
        fields = {_FIELDS[name]: value for name, value in present.items() if name in _FIELDS}
        if "stride_h" in present:
            fields["Padding"] = padding
        if "keep_dims" in present:
            fields["KeepNumDims" if op.name == "fully_connected" else "KeepDims"] = present["keep_dims"]
        if "activation" in present:
            fields["FusedActivationFunction"] = ACTIVATIONS[present["activation"]]
        if title in ("AddOptions", "SubOptions"):
            fields["PotScaleInt16"] = False
        if title in _WITH_BIAS_TYPE and y.dtype is DType.INT16 and _has_narrow_bias(graph, node):
            fields["QuantizedBiasType"] = ELEMENT_TYPES[DType.INT32]
        if title == "GeluOptions":
            fields["Approximate"] = op.function is map.Function.GELU_TANH
    return Written(code, title, fields)


def _has_narrow_bias(graph: Graph, node: Node) -> bool:
    return node.inputs[2] is not None and graph.type(node.inputs[2]).dtype is DType.INT32


def _code(node: Node) -> tuple[str, str]:
    op = node.op
    if isinstance(op, Relu):
        return _RELUS[op.activation], ""
    if isinstance(op, map.Map) and op.function not in _NOT_THERE:
        return _FUNCTIONS.get(op.function, (op.function.name, ""))
    if isinstance(op, binary.Binary):
        if op.activation is not Activation.NONE and op.function is not binary.Function.DIV:
            raise UnsupportedError(node.name, f"{op.function.value} with a fused {op.activation.value}",
                                   "no activation, in .tflite files")  # fmt: skip
        return _PAIRS.get(op.function, (op.function.name, ""))
    if isinstance(op, reduce.Reduce):
        return _TOTALS[op.function], "ReducerOptions"
    if op.name not in _CODES:
        raise UnsupportedError(node.name, f"{op.name} has no equal in .tflite files")
    return _CODES[op.name]


def same_padding(window: Window, height: int, width: int) -> Padding:
    """The padding that the SAME scheme stands for."""

    def split(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        span = (kernel - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        return total // 2, total - total // 2

    rows = split(height, window.kernel_h, window.stride_h, window.dilation_h)
    columns = split(width, window.kernel_w, window.stride_w, window.dilation_w)
    return Padding(*rows, *columns)
