"""Operators of the graph that are one ONNX operator with some attributes, or few of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from midge.ir.graph import Node
from midge.ops import binary, map, reduce
from midge.ops.base import Activation

_SIMPLE = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "logistic": "Sigmoid", "tanh": "Tanh",
}  # fmt: skip
_FUNCTIONS = {
    map.Function.ABS: "Abs", map.Function.CEIL: "Ceil", map.Function.COS: "Cos", map.Function.ELU: "Elu",
    map.Function.ERF: "Erf", map.Function.EXP: "Exp", map.Function.FLOOR: "Floor", map.Function.GELU: "Gelu",
    map.Function.LOG: "Log", map.Function.HARD_SWISH: "HardSwish", map.Function.NEG: "Neg",
    map.Function.RECIPROCAL: "Reciprocal", map.Function.ROUND: "Round", map.Function.SIGN: "Sign",
    map.Function.SIN: "Sin", map.Function.SQRT: "Sqrt",
}  # fmt: skip
_PAIRS = {binary.Function.DIV: "Div", binary.Function.MAXIMUM: "Max", binary.Function.MINIMUM: "Min",
          binary.Function.POWER: "Pow"}  # fmt: skip
_TOTALS = {
    reduce.Function.MAX: "ReduceMax", reduce.Function.MIN: "ReduceMin", reduce.Function.PROD: "ReduceProd",
    reduce.Function.SUM: "ReduceSum",
}  # fmt: skip


class Writer(Protocol):
    """What these functions need of the writer."""

    def op(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str: ...

    def constant(self, array: Any, label: str = "constant") -> str: ...

    def real(self, name: str | None) -> str: ...


def function_nodes(writer: Writer, node: Node) -> str | None:
    """The result of the nodes that stand for a node; None where there are none."""
    op: Any = node.op
    operands = [writer.real(name) for name in node.inputs if name is not None]
    if op.name in _SIMPLE:
        return writer.op(_SIMPLE[op.name], operands)
    if op.name == "softmax":
        x = operands[0] if op.beta == 1 else writer.op("Mul", [operands[0], writer.constant(np.float32(op.beta))])
        return writer.op("Softmax", [x], axis=-1)
    if op.name == "relu":
        return _rectified(writer, operands[0], op.activation)
    if op.name == "pad":
        pads = [pair[0] for pair in op.paddings] + [pair[1] for pair in op.paddings]
        return writer.op("Pad", [operands[0], writer.constant(np.array(pads, np.int64), "pads")])
    if op.name == "concatenation":
        return writer.op("Concat", operands, axis=op.axis)
    if op.name in ("mean", "reduce"):
        axes = writer.constant(np.array(op.axes, np.int64), "axes")
        kind = "ReduceMean" if op.name == "mean" else _TOTALS[op.function]
        return writer.op(kind, [operands[0], axes], keepdims=int(op.keep_dims))
    if op.name == "map":
        return _mapped(writer, operands[0], op.function)
    return _paired(writer, operands, op.function) if op.name == "binary" else None


def _rectified(writer: Writer, x: str, activation: Activation) -> str:
    if activation is Activation.RELU:
        return writer.op("Relu", [x])
    low, high = (writer.constant(np.float32(bound)) for bound in activation.real_bounds)
    return writer.op("Clip", [x, low, high])


def _mapped(writer: Writer, x: str, function: map.Function) -> str | None:
    if function in _FUNCTIONS:
        return writer.op(_FUNCTIONS[function], [x])
    if function is map.Function.GELU_TANH:
        return writer.op("Gelu", [x], approximate="tanh")
    if function is map.Function.SQUARE:
        return writer.op("Mul", [x, x])
    if function is map.Function.RSQRT:
        return writer.op("Reciprocal", [writer.op("Sqrt", [x])])
    return None


def _paired(writer: Writer, operands: Sequence[str], function: binary.Function) -> str | None:
    if function in _PAIRS:
        return writer.op(_PAIRS[function], operands)
    if function is binary.Function.SQUARED_DIFFERENCE:
        difference = writer.op("Sub", operands)
        return writer.op("Mul", [difference, difference])
    if function is binary.Function.FLOOR_DIV:
        return writer.op("Floor", [writer.op("Div", operands)])
    return None
