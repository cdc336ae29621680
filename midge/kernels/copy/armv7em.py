"""Copies into the layouts of the DSP kernels."""

from __future__ import annotations

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.layouts import NATURAL, PLANES, WIDE
from midge.kernels.view import TaskView
from midge.ops.copy import Copy
from midge.targets.records import Core


class CopyLayout(Kernel):
    """int8 values from one layout into another, row by row."""

    op = Copy

    def __init__(self, name: str, source: Layout, result: Layout) -> None:
        self.name = f"copy_s8_{name}__armv7em"
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
        template = "copy/planes.c.j2" if self.source.planes or self.result.planes else "copy/wide.c.j2"
        return LayerCode((), (), render.render(template, view=view, source=self.source, result=self.result))


KERNELS = (
    CopyLayout("wide", NATURAL, WIDE),
    CopyLayout("planes", NATURAL, PLANES),
    CopyLayout("from_wide", WIDE, NATURAL),
    CopyLayout("from_planes", PLANES, NATURAL),
)
