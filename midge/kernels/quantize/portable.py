"""Quantisation of float32 and requantisation of integers in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.render import c_float, c_offset
from midge.kernels.unary import Expression, MapRows, TableRows
from midge.ops.base import Rounding
from midge.ops.quantize import Quantize

_INTEGERS = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32)
_MOST_LEFT_SHIFT = 14
"""int16 less its zero point has 17 bits with its sign; shifted further, it could leave 32 bits."""


class QuantizeTable(TableRows):
    """Rows of bytes to rows of bytes through a table."""

    name: ClassVar[str] = "quantize_s8_table__portable"
    op = Quantize


class QuantizeF32(MapRows):
    """Rows of float32 to rows of integers."""

    name: ClassVar[str] = "quantize_f32_rows__portable"
    op = Quantize

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        fits = x.dtype is DType.FLOAT32 and y.dtype in _INTEGERS[:3]
        return None if fits else f"{x.dtype.value} to {y.dtype.value}"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        assert y.quantization is not None
        low, high = (f"{limit - y.zero_point}.0f" for limit in y.dtype.limits)
        rounded = f"midge_round_f32(x[i] / {c_float(y.quantization.scale)}, {low}, {high})"
        return Expression(
            f"({y.dtype.c_name})({rounded}{c_offset(y.zero_point)})", (render.helper("round_f32"),)
        )  # fmt: skip


class QuantizeS16(MapRows):
    """Rows of integers to rows of integers, value by value: for int16, which no table serves."""

    name: ClassVar[str] = "quantize_s16_rows__portable"
    op = Quantize

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        if x.dtype not in _INTEGERS or y.dtype not in _INTEGERS:
            return f"{x.dtype.value} to {y.dtype.value}"
        _, shift = Quantize().requantization(x, y)
        return None if shift <= _MOST_LEFT_SHIFT else f"the scale grows 2^{shift} times finer"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        multiplier_q31, shift = Quantize().requantization(x, y)
        low, high = y.dtype.limits
        scaled = f"midge_scale_double(x[i]{c_offset(-x.zero_point)}, {multiplier_q31}, {shift}){c_offset(y.zero_point)}"
        return Expression(
            f"({y.dtype.c_name})midge_clamp({scaled}, {low}, {high})",
            (render.scale_helper(Rounding.DOUBLE), render.helper("clamp")),
        )


KERNELS = (QuantizeTable(), QuantizeF32(), QuantizeS16())
