"""Comparisons and conditions in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import Function as CFunction
from midge.kernels.elementwise import ElementwiseRows
from midge.kernels.unary import TableRows
from midge.ops.base import Rounding
from midge.ops.compare import LEFT_SHIFT, Compare, Function
from midge.targets.records import Core

_OPERATORS = {
    Function.AND: "&&", Function.EQUAL: "==", Function.GREATER: ">", Function.GREATER_EQUAL: ">=", Function.LESS: "<",
    Function.LESS_EQUAL: "<=", Function.NOT_EQUAL: "!=", Function.OR: "||",
}  # fmt: skip


class CompareTableS8(TableRows):
    """int8 values against a constant number, through a table."""

    name: ClassVar[str] = "compare_s8_table__portable"
    op = Compare

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        if graph.type(node.inputs[0] or "").dtype is DType.BOOL:
            return "bools need no table"
        return super().refuse(node, graph, core)


class CompareRows(ElementwiseRows):
    """Values of any element type; int8 is scaled first."""

    name: ClassVar[str] = "compare_rows__portable"
    op = Compare
    body = "compare/comparison.c.j2"
    dtype = DType.BOOL

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[CFunction, ...]]:
        assert isinstance(node.op, Compare)
        types = [graph.type(name or "") for name in node.inputs]
        names: dict[str, object] = {"operator": _OPERATORS[node.op.function], "scales": None}
        if types[0].dtype is not DType.INT8:
            return names, ()
        names["scales"] = [_scale(node.op, type_) for type_ in types]
        return names, (render.scale_helper(Rounding.DOUBLE),)


def _scale(op: Compare, operand: TensorType) -> tuple[str, int, int, int]:
    """What the zero point adds, the factor of the left shift, multiplier and shift."""
    return (render.c_offset(-operand.zero_point), 1 << LEFT_SHIFT, *op.multiplier(operand))


KERNELS = (CompareTableS8(), CompareRows())
