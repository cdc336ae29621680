"""Leaky rectifiers in plain C99: int8 by a table, int16 and float32 by a product."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.unary import Expression, MapRows, TableRows
from midge.ops.base import Rounding
from midge.ops.leaky_relu import LeakyRelu


class LeakyReluS8(TableRows):
    """Rows of int8 through a table."""

    name: ClassVar[str] = "leaky_relu_s8_table__portable"
    op = LeakyRelu


class LeakyReluS16(MapRows):
    """Rows of int16."""

    name: ClassVar[str] = "leaky_relu_s16_rows__portable"
    op = LeakyRelu

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.INT16 else "not int16"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        assert isinstance(node.op, LeakyRelu)
        above, below = (
            f"midge_scale_double(x[i], {multiplier}, {shift})" for multiplier, shift in node.op.multipliers(x, y)
        )
        helpers = (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"))
        return Expression(f"(int16_t)midge_clamp(x[i] >= 0 ? {above} : {below}, -32768, 32767)", helpers)


class LeakyReluF32(MapRows):
    """Rows of float32."""

    name: ClassVar[str] = "leaky_relu_f32_rows__portable"
    op = LeakyRelu

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.FLOAT32 else "not float32"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        assert isinstance(node.op, LeakyRelu)
        return Expression(f"x[i] > 0.0f ? x[i] : x[i] * {render.c_float(node.op.alpha)}")


KERNELS = (LeakyReluS8(), LeakyReluS16(), LeakyReluF32())
