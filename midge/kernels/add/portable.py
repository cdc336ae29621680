"""Addition with broadcasting in plain C99: int8, int16 and float32."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.types import DType
from midge.kernels.elementwise import RowsF32, SumRowsS8
from midge.kernels.unary import TableRows
from midge.ops.add import Add


class AddTableS8(TableRows):
    """Sums with a constant number, through a table."""

    name: ClassVar[str] = "add_s8_table__portable"
    op = Add


class AddRowsS8(SumRowsS8):
    """Rows of int8."""

    name: ClassVar[str] = "add_s8_rows__portable"
    op = Add


class AddRowsS16(SumRowsS8):
    """Rows of int16."""

    name: ClassVar[str] = "add_s16_rows__portable"
    op = Add
    dtype = DType.INT16


class AddRowsF32(RowsF32):
    """Rows of float32."""

    name: ClassVar[str] = "add_f32_rows__portable"
    op = Add


KERNELS = (AddTableS8(), AddRowsS8(), AddRowsS16(), AddRowsF32())
