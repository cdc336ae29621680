"""Dequantisation in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels.render import c_float, c_offset
from midge.kernels.unary import Expression, MapRows
from midge.ops.dequantize import Dequantize


class DequantizeRows(MapRows):
    """Rows of integers to rows of float32."""

    name: ClassVar[str] = "dequantize_f32_rows__portable"
    op = Dequantize

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        small = x.dtype in (DType.INT8, DType.UINT8, DType.INT16)
        return None if small and y.dtype is DType.FLOAT32 else f"{x.dtype.value} to {y.dtype.value}"

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        assert x.quantization is not None
        return Expression(f"{c_float(x.quantization.scale)} * (float)(x[i]{c_offset(-x.zero_point)})")


KERNELS = (DequantizeRows(),)
