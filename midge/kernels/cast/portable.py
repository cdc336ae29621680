"""Numbers in another element type in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.unary import Expression, MapRows
from midge.ops.cast import Cast


class CastRows(MapRows):
    """Rows of any element type."""

    name: ClassVar[str] = "cast_rows__portable"
    op = Cast

    def refuse_types(self, x: TensorType, y: TensorType) -> str | None:
        del x, y
        return None

    def expression(self, node: Node, x: TensorType, y: TensorType) -> Expression:
        del node
        if y.dtype is DType.BOOL:
            return Expression("x[i] != 0")
        if not x.dtype.is_float or y.dtype.is_float:
            return Expression(f"({'float' if y.dtype.is_float else y.dtype.c_name})x[i]")
        name = f"cast_f32_{y.dtype.suffix}"
        bits, is_signed = 8 * y.dtype.bytes, y.dtype is not DType.UINT8
        text = render.render(
            "cast/saturated.c.j2", name=f"midge_{name}", y=y.dtype.c_name, bits=bits, is_signed=is_signed
        )
        return Expression(f"midge_{name}(x[i])", (render.Function(f"midge_{name}", text.strip() + "\n"),))


KERNELS = (CastRows(),)
