"""Copies into the layouts of the DSP kernels."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Reads, row_steps
from midge.kernels.layouts import NATURAL, PLANES, WIDE
from midge.kernels.view import TaskView
from midge.ops.copy import Copy
from midge.targets.records import Core


class CopyWide(Kernel):
    """int8 values, widened, without their zero point, shifted."""

    name: ClassVar[str] = "copy_s8_wide__armv7em"
    op = Copy
    layout = WIDE
    template = "copy/wide.c.j2"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.type(node.outputs[0]).dtype is not DType.INT8:
            return "not int8"
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        return Binding(self, (Reads(NATURAL),), (self.layout,), row_steps(graph.input_types(node), y, {0: (1, 0, 1)}))

    def emit(self, view: TaskView) -> LayerCode:
        return LayerCode((), (), render.render(self.template, view=view, layout=self.layout))


class CopyPlanes(CopyWide):
    """int8 values, channel by channel."""

    name: ClassVar[str] = "copy_s8_planes__armv7em"
    layout = PLANES
    template = "copy/planes.c.j2"


KERNELS = (CopyWide(), CopyPlanes())
