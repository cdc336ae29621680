"""Rectifiers with a tensor of slopes in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Function
from midge.kernels.elementwise import ElementwiseRows
from midge.kernels.unary import TableRows
from midge.ops.base import Rounding
from midge.ops.prelu import Prelu


class PreluTableS8(TableRows):
    """int8 with one slope, through a table."""

    name: ClassVar[str] = "prelu_s8_table__portable"
    op = Prelu


class PreluRowsS8(ElementwiseRows):
    """Rows of int8."""

    name: ClassVar[str] = "prelu_s8_rows__portable"
    op = Prelu
    body = "prelu/value_s8.c.j2"
    dtype = DType.INT8

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[Function, ...]]:
        assert isinstance(node.op, Prelu)
        x, slope, y = (graph.type(name or "") for name in (*node.inputs, *node.outputs))
        above, below = node.op.multipliers(x, slope, y)
        names: dict[str, object] = {
            "x_offset": render.c_offset(-x.zero_point), "slope_offset": render.c_offset(-slope.zero_point),
            "y_offset": render.c_offset(y.zero_point), "above": above, "below": below,
        }  # fmt: skip
        return names, (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"))


class PreluRowsF32(ElementwiseRows):
    """Rows of float32."""

    name: ClassVar[str] = "prelu_f32_rows__portable"
    op = Prelu
    body = "prelu/value_f32.c.j2"
    dtype = DType.FLOAT32

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[Function, ...]]:
        del node, graph
        return {}, ()


KERNELS = (PreluTableS8(), PreluRowsS8(), PreluRowsF32())
