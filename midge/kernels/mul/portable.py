"""Multiplication with broadcasting in plain C99: int8, int16 and float32."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.types import DType
from midge.kernels.elementwise import ProductRowsS8, RowsF32
from midge.kernels.unary import TableRows
from midge.ops.mul import Mul


class MulTableS8(TableRows):
    """Products with a constant number, through a table."""

    name: ClassVar[str] = "mul_s8_table__portable"
    op = Mul


class MulRowsS8(ProductRowsS8):
    """Rows of int8."""

    name: ClassVar[str] = "mul_s8_rows__portable"
    op = Mul


class MulRowsS16(ProductRowsS8):
    """Rows of int16."""

    name: ClassVar[str] = "mul_s16_rows__portable"
    op = Mul
    dtype = DType.INT16


class MulRowsF32(RowsF32):
    """Rows of float32."""

    name: ClassVar[str] = "mul_f32_rows__portable"
    op = Mul


KERNELS = (MulTableS8(), MulRowsS8(), MulRowsS16(), MulRowsF32())
