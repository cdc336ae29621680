"""Rectifiers in plain C99: int8 by a table, int16 and float32 by a clamp."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.floating import float_clamp
from midge.kernels.unary import Expression, MapRows, TableRows
from midge.ops.base import Rounding, quantized_bounds
from midge.ops.relu import Relu


class ReluS8(TableRows):
    """Rows of int8 through a table."""

    name: ClassVar[str] = "relu_s8_table__portable"
    op = Relu


class ReluS16(MapRows):
    """Rows of int16, scaled and clamped."""

    name: ClassVar[str] = "relu_s16_rows__portable"
    op = Relu

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.INT16 else "not int16"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        assert isinstance(node.op, Relu)
        multiplier_q31, shift = node.op.requantization(x, y)
        low, high = quantized_bounds(node.op.activation, y)
        helpers = (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"))
        scaled = f"midge_scale_double(x[i], {multiplier_q31}, {shift})"
        return Expression(f"(int16_t)midge_clamp({scaled}, {low}, {high})", helpers)


class ReluF32(MapRows):
    """Rows of float32, clamped."""

    name: ClassVar[str] = "relu_f32_rows__portable"
    op = Relu

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.FLOAT32 else "not float32"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        assert isinstance(node.op, Relu)
        clamp = float_clamp(node.op.activation)
        return Expression(clamp.of("x[i]"), clamp.helpers)


KERNELS = (ReluS8(), ReluS16(), ReluF32())
