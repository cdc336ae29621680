"""Tanh in plain C99: int8 and int16 by tables, float32 by polynomials."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.floating import exp_helpers
from midge.kernels.sigmoid_s16 import sigmoid_lines
from midge.kernels.unary import Expression, MapRows, TableRows
from midge.ops.tanh import Tanh


class TanhS8(TableRows):
    """Rows of int8 through a table."""

    name: ClassVar[str] = "tanh_s8_table__portable"
    op = Tanh


class TanhS16(MapRows):
    """Rows of int16, by straight lines between the entries of a table of sigmoids."""

    name: ClassVar[str] = "tanh_s16_lines__portable"
    op = Tanh

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.INT16 else "not int16"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        del node, y
        return sigmoid_lines("tanh", x)


class TanhF32(MapRows):
    """Rows of float32."""

    name: ClassVar[str] = "tanh_f32_rows__portable"
    op = Tanh

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.FLOAT32 else "not float32"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        return Expression("midge_tanh_f32(x[i])", (*exp_helpers(), render.helper("tanh_f32")))


KERNELS = (TanhS8(), TanhS16(), TanhF32())
