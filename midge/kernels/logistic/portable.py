"""Logistic in plain C99: int8 and int16 by tables, float32 by its formula."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels.floating import exp_helpers
from midge.kernels.sigmoid_s16 import sigmoid_lines
from midge.kernels.unary import Expression, MapRows, TableRows
from midge.ops.logistic import Logistic


class LogisticS8(TableRows):
    """Rows of int8 through a table."""

    name: ClassVar[str] = "logistic_s8_table__portable"
    op = Logistic


class LogisticS16(MapRows):
    """Rows of int16, by straight lines between the entries of a table of sigmoids."""

    name: ClassVar[str] = "logistic_s16_lines__portable"
    op = Logistic

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.INT16 else "not int16"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        del node, y
        return sigmoid_lines("logistic", x)


class LogisticF32(MapRows):
    """Rows of float32."""

    name: ClassVar[str] = "logistic_f32_rows__portable"
    op = Logistic

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        return None if x.dtype is y.dtype is DType.FLOAT32 else "not float32"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        return Expression("1.0f / (1.0f + midge_exp_f32(-x[i]))", exp_helpers())


KERNELS = (LogisticS8(), LogisticS16(), LogisticF32())
