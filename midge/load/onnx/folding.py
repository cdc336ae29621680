"""What is known before the import: results of operators on constants, and shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from midge.errors import ModelError, UnsupportedError
from midge.load.onnx.file import RawModel, RawNode
from midge.load.onnx.held import MOST_ELEMENTS, Known
from midge.load.onnx.quantized import dequantized

_NAMES = """
    Abs Add And ArgMax ArgMin Cast CastLike Ceil Clip Concat Constant ConstantOfShape Cos CumSum Div Equal Erf Exp
    Expand EyeLike Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity IsInf IsNaN Less
    LessOrEqual Log MatMul Max Mean Min Mod Mul Neg NonZero Not Or Pad Pow QuantizeLinear Range Reciprocal ReduceL1
    ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements
    ScatterND Shape Sigmoid Sign Sin Size Slice Softmax Split Sqrt Squeeze Sub Sum Tan Tanh Tile Transpose Trilu
    Unsqueeze Where Xor
"""
FOLDED = frozenset(_NAMES.split())


def can_fold(node: RawNode) -> bool:
    return node.op in FOLDED or node.op == "DequantizeLinear"


def fold(node: RawNode, operands: Sequence[Known | None], raw: RawModel) -> tuple[Known, ...]:
    """The results of a node whose operands are all constants.

    Raises ModelError where it can't be computed, UnsupportedError where it would not fit any microcontroller.
    """
    arrays = [None if operand is None else operand.array for operand in operands]
    if node.op == "DequantizeLinear":
        return (_dequantize(node, arrays, raw),)
    largest = max(_result_elements(node, arrays), max((a.size for a in arrays if a is not None), default=1))
    if largest > MOST_ELEMENTS:
        raise UnsupportedError(f"{raw.file}: {node.title}", f"a constant of {largest:,} elements",
                               f"at most {MOST_ELEMENTS:,}", "Use a model made for microcontrollers")  # fmt: skip
    try:
        results = _evaluate(node, arrays, raw.opset)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(f"{raw.file}: {node.title}", f"constants that it cannot take ({reason})", "valid ones",
                         "Export the model again") from error  # fmt: skip
    return tuple(Known(np.asarray(result)) for result in results)


def _dequantize(node: RawNode, arrays: Sequence[np.ndarray | None], raw: RawModel) -> Known:
    integers, scales = arrays[0], arrays[1]
    assert integers is not None and scales is not None
    zero_points = arrays[2] if len(arrays) > 2 else None
    axis = int(node.attributes.get("axis", 1))
    axis = axis % integers.ndim if integers.ndim else 0
    fits = scales.size == 1 or (integers.ndim > 0 and scales.shape == (integers.shape[axis],))
    if not fits or (zero_points is not None and zero_points.size not in (1, scales.size)):
        raise ModelError(f"{raw.file}: {node.title}", f"{scales.size} scales for shape {list(integers.shape)}",
                         "one, or one for each index of the axis", "Export the model again")  # fmt: skip
    return dequantized(integers, scales, zero_points, axis)


def _result_elements(node: RawNode, arrays: Sequence[np.ndarray | None]) -> int:
    """Elements of the results of operators that make more than they get."""
    second = arrays[1] if len(arrays) > 1 else None
    if node.op == "ConstantOfShape" and arrays[0] is not None:
        return math.prod(int(size) for size in arrays[0].reshape(-1))
    if node.op == "Expand" and second is not None and arrays[0] is not None:
        return arrays[0].size * math.prod(max(int(size), 1) for size in second.reshape(-1))
    if node.op == "Tile" and second is not None and arrays[0] is not None:
        return arrays[0].size * math.prod(max(int(size), 1) for size in second.reshape(-1))
    if node.op == "Pad" and arrays[0] is not None:
        added = node.attributes.get("pads") if second is None else second.reshape(-1).tolist()
        return math.prod(size + sum(abs(int(number)) for number in added or ()) for size in arrays[0].shape)
    if node.op == "Range" and all(array is not None and array.size == 1 for array in arrays):
        start, limit, delta = (float(array.reshape(-1)[0]) for array in arrays if array is not None)
        return int(abs((limit - start) / delta)) + 1 if delta else 0
    if node.op in ("Add", "Mul", "Sub", "Div", "Where", "Equal", "Less", "Greater", "And", "Or"):
        return _broadcast_elements([array.shape for array in arrays if array is not None])
    if node.op in ("MatMul", "Gather", "GatherND"):
        return math.prod(max(array.size, 1) for array in arrays if array is not None)
    return 0


def _broadcast_elements(shapes: Sequence[tuple[int, ...]]) -> int:
    """Elements of a result as large as the operands make it; of operands that do not broadcast, none."""
    rank = max((len(shape) for shape in shapes), default=0)
    wide = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return math.prod(max(sizes) for sizes in zip(*wide, strict=True))


def _evaluate(node: RawNode, arrays: Sequence[np.ndarray | None], opset: int) -> list[Any]:
    """The node alone in a model, by ONNX's reference implementation."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    feeds: Mapping[str, np.ndarray] = {
        name: array for name, array in zip(node.inputs, arrays, strict=True) if array is not None
    }
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
    proto = node.proto or helper.make_node(node.op, node.inputs, node.outputs, **node.attributes)
    graph = helper.make_graph([proto], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return list(ReferenceEvaluator(model).run(None, dict(feeds)))
