"""Subtraction with broadcasting in plain C99: int8, int16 and float32."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.types import DType
from midge.kernels.elementwise import RowsF32, SumRowsS8
from midge.kernels.unary import TableRows
from midge.ops.sub import Sub


class SubTableS8(TableRows):
    """Differences with a constant number, through a table."""

    name: ClassVar[str] = "sub_s8_table__portable"
    op = Sub


class SubRowsS8(SumRowsS8):
    """Rows of int8."""

    name: ClassVar[str] = "sub_s8_rows__portable"
    op = Sub


class SubRowsS16(SumRowsS8):
    """Rows of int16."""

    name: ClassVar[str] = "sub_s16_rows__portable"
    op = Sub
    dtype = DType.INT16


class SubRowsF32(RowsF32):
    """Rows of float32."""

    name: ClassVar[str] = "sub_f32_rows__portable"
    op = Sub


KERNELS = (SubTableS8(), SubRowsS8(), SubRowsS16(), SubRowsF32())
