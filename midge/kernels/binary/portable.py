"""Functions of two values in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Function as CFunction
from midge.kernels.elementwise import ElementwiseRows
from midge.kernels.floating import exp_helpers, float_clamp
from midge.kernels.unary import TableRows
from midge.ops.base import Activation, quantized_bounds
from midge.ops.binary import Binary, Function

_FLOORS = (Function.FLOOR_DIV, Function.FLOOR_MOD)


class BinaryTableS8(TableRows):
    """The larger or smaller of int8 values and a constant number, through a table."""

    name: ClassVar[str] = "binary_s8_table__portable"
    op = Binary


class BinaryRowsS8(ElementwiseRows):
    """The larger or smaller of int8 values."""

    name: ClassVar[str] = "binary_s8_rows__portable"
    op = Binary
    body = "common/binary_f32.c.j2"
    dtype = DType.INT8

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[CFunction, ...]]:
        op = node.op
        assert isinstance(op, Binary)
        names: dict[str, object] = {
            "function": op.function.value,
            "plain": self.dtype.c_name,
            "clamp": None,
            "bounds": None,
        }
        if op.activation is Activation.NONE:
            return names, ()
        return names | {"bounds": quantized_bounds(op.activation, graph.type(node.outputs[0]))}, (
            render.helper("clamp"),
        )


class BinaryRowsS16(BinaryRowsS8):
    """The larger or smaller of int16 values."""

    name: ClassVar[str] = "binary_s16_rows__portable"
    dtype = DType.INT16


class BinaryRowsF32(ElementwiseRows):
    """Rows of float32."""

    name: ClassVar[str] = "binary_f32_rows__portable"
    op = Binary
    body = "common/binary_f32.c.j2"
    dtype = DType.FLOAT32

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[CFunction, ...]]:
        assert isinstance(node.op, Binary)
        clamp = float_clamp(node.op.activation)
        helpers = clamp.helpers
        if node.op.function in _FLOORS:
            helpers = (render.helper("trunc_f32"), render.helper("floor_f32"), *helpers)
        elif node.op.function is Function.POWER:
            named = tuple(render.helper(name) for name in ("log_f32", "trunc_f32", "power_f32"))
            helpers = (*exp_helpers(), *named, *helpers)
        return {"function": node.op.function.value, "plain": "float", "clamp": clamp, "bounds": None}, helpers


KERNELS = (BinaryTableS8(), BinaryRowsS8(), BinaryRowsS16(), BinaryRowsF32())
