"""Copies into and out of the layouts of the Armv6-M kernels."""

from __future__ import annotations

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.layouts import EXCESS, EXCESS_PLANES, NATURAL
from midge.kernels.view import Rows, TaskView, c_element
from midge.ops.copy import Copy
from midge.targets.records import Core

_WORD_BYTES = 4


class CopyBytes(Kernel):
    """int8 values, with and without their sign, row by row; four at a time where both rows lie at words."""

    op = Copy

    def __init__(self, name: str, source: Layout, result: Layout) -> None:
        self.name = f"copy_s8_{name}__armv6m"
        self.source = source
        self.result = result

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.type(node.outputs[0]).dtype is not DType.INT8:
            return "not int8"
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        return Binding(
            self, (Reads(self.source),), (self.result,), row_steps(graph.input_types(node), y, {0: (1, 0, 1)})
        )

    def emit(self, view: TaskView) -> LayerCode:
        is_planar = self.source.planes or self.result.planes
        is_by_words = not is_planar and lies_at_words(view.x) and lies_at_words(view.y)
        elements = view.x.type.row_elements
        words = elements // _WORD_BYTES if is_by_words else 0
        template = "copy/bytes_planes.c.j2" if is_planar else "copy/bytes.c.j2"
        body = render.render(
            template, view=view, source=self.source, result=self.result, x_element=c_element(self.source.dtype),
            y_element=c_element(self.result.dtype), words=words, first=words * _WORD_BYTES, elements=elements,
        )  # fmt: skip
        return LayerCode((), (), body)


def lies_at_words(rows: Rows) -> bool:
    """True where each row's first pixel has an address that words may be loaded from."""
    return all(value % _WORD_BYTES == 0 for value in (rows.offset + rows.left_bytes, rows.stride_bytes))


KERNELS = (
    CopyBytes("excess", NATURAL, EXCESS),
    CopyBytes("excess_planes", NATURAL, EXCESS_PLANES),
    CopyBytes("from_excess", EXCESS, NATURAL),
    CopyBytes("from_excess_planes", EXCESS_PLANES, NATURAL),
    CopyBytes("excess_to_planes", EXCESS, EXCESS_PLANES),
)
