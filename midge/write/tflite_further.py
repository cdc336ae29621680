"""Operators of .tflite files whose operands stand in another order, or that have constants among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.ops.arg_extreme import ArgExtreme
from midge.ops.base import Padding
from midge.ops.batch_matmul import BatchMatmul
from midge.ops.compare import Compare, Function
from midge.ops.cumsum import Cumsum
from midge.ops.gather import Gather
from midge.ops.resize_bilinear import ResizeBilinear
from midge.ops.transposed_conv2d import TransposedConv2D
from midge.ops.windows import Window
from midge.write.tflite_options import ACTIVATIONS, ELEMENT_TYPES, SAME, VALID, same_padding


@dataclass(frozen=True, slots=True, eq=False)
class Further:
    """An operator's code, its operands (names of values, and constants), its options table (empty: none) and fields."""

    code: str
    operands: tuple[str | np.ndarray, ...]
    title: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def _arg_extreme(graph: Graph, node: Node) -> Further:
    op = node.op
    assert isinstance(op, ArgExtreme)
    if op.keep_dims:
        raise UnsupportedError(node.name, "an index that keeps its axis", "one that drops it, in .tflite files")
    kind = ("ARG_MAX", "ArgMaxOptions") if op.largest else ("ARG_MIN", "ArgMinOptions")
    result = ELEMENT_TYPES[graph.output_types(node)[0].dtype]
    return Further(kind[0], (node.inputs[0] or "", np.array(op.axis, np.int32)), kind[1], {"OutputType": result})


_LOGICAL = {Function.AND: "LOGICAL_AND", Function.OR: "LOGICAL_OR"}


def _compare(graph: Graph, node: Node) -> Further:
    op = node.op
    assert isinstance(op, Compare)
    return Further(_LOGICAL.get(op.function, op.function.name), _operands(node))


def _transposed_conv2d(graph: Graph, node: Node) -> Further:
    op, (x, weights, bias) = node.op, node.inputs
    assert isinstance(op, TransposedConv2D) and x is not None and weights is not None
    shape, kernel = graph.type(node.outputs[0]).shape, graph.type(weights).shape
    if kernel[3] != graph.type(x).channels:
        raise UnsupportedError(node.name, "a transposed convolution of groups", "one group, in .tflite files")
    window = Window(kernel[1], kernel[2], op.stride_h, op.stride_w, 1, 1, Padding(0, 0, 0, 0))
    same = same_padding(window, op.height, op.width)
    if (op.top, op.left) not in ((0, 0), (same.top, same.left)):
        raise UnsupportedError(node.name, f"{op.top} rows and {op.left} columns cut", "none, or those of SAME padding")
    is_same = (op.top, op.left) == (same.top, same.left)
    fields = {
        "Padding": SAME if is_same else VALID, "StrideH": op.stride_h, "StrideW": op.stride_w,
        "FusedActivationFunction": ACTIVATIONS[op.activation],
    }  # fmt: skip
    if graph.type(x).dtype is DType.INT16 and bias is not None and graph.type(bias).dtype is DType.INT32:
        fields["QuantizedBiasType"] = ELEMENT_TYPES[DType.INT32]
    operands = (np.array(shape, np.int32), weights, x, *(() if bias is None else (bias,)))
    return Further("TRANSPOSE_CONV", operands, "TransposeConvOptions", fields)


def _resize_bilinear(graph: Graph, node: Node) -> Further:
    del graph
    op = node.op
    assert isinstance(op, ResizeBilinear)
    fields = {"AlignCorners": op.align_corners, "HalfPixelCenters": op.half_pixel_centers}
    size = np.array([op.height, op.width], np.int32)
    return Further("RESIZE_BILINEAR", (*_operands(node), size), "ResizeBilinearOptions", fields)


def _batch_matmul(graph: Graph, node: Node) -> Further:
    del graph
    op = node.op
    assert isinstance(op, BatchMatmul)
    return Further("BATCH_MATMUL", _operands(node), "BatchMatMulOptions",
                   {"AdjX": op.transpose_a, "AdjY": op.transpose_b})  # fmt: skip


def _cumsum(graph: Graph, node: Node) -> Further:
    del graph
    op = node.op
    assert isinstance(op, Cumsum)
    axis = np.array(op.axis, np.int32)
    return Further("CUMSUM", (*_operands(node), axis), "CumsumOptions", {"Exclusive": op.exclusive})


def _gather(graph: Graph, node: Node) -> Further:
    del graph
    op = node.op
    assert isinstance(op, Gather)
    return Further("GATHER", _operands(node), "GatherOptions", {"Axis": op.axis})


def _same(code: str, title: str = "") -> Callable[[Graph, Node], Further]:
    """An operator whose operands are the node's, without options of its own."""
    return lambda graph, node: Further(code, _operands(node), title)


def _operands(node: Node) -> tuple[str, ...]:
    return tuple(name for name in node.inputs if name is not None)


FURTHER: dict[str, Callable[[Graph, Node], Further]] = {
    "arg_extreme": _arg_extreme,
    "batch_matmul": _batch_matmul,
    "cast": _same("CAST"),
    "compare": _compare,
    "cumsum": _cumsum,
    "dynamic_update_slice": _same("DYNAMIC_UPDATE_SLICE"),
    "gather": _gather,
    "l2_normalization": _same("L2_NORMALIZATION", "L2NormOptions"),
    "prelu": _same("PRELU"),
    "resize_bilinear": _resize_bilinear,
    "select": _same("SELECT_V2"),
    "transposed_conv2d": _transposed_conv2d,
}
"""By the operator's name."""
