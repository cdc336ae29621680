"""Choices in plain C99, any element type."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels.base import Function
from midge.kernels.elementwise import ElementwiseRows
from midge.ops.select import Select
from midge.targets.records import Core


class SelectRows(ElementwiseRows):
    """One of two values by a third."""

    name: ClassVar[str] = "select_rows__portable"
    op = Select
    body = "select/choice.c.j2"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del node, graph, core
        return None

    def names(self, node: Node, graph: Graph) -> tuple[dict[str, object], tuple[Function, ...]]:
        del node, graph
        return {}, ()


KERNELS = (SelectRows(),)
