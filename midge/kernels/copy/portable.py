"""Copies of rows, any element type."""

from __future__ import annotations

from typing import ClassVar

from midge.errors import InternalError
from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import ANY_PITCH, Binding, Constant, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.view import TaskView, c_element
from midge.ops.copy import Copy
from midge.targets.records import Core


class CopyRows(Kernel):
    """One row a step, by memcpy (or by a smaller loop where RAM or flash come first)."""

    name: ClassVar[str] = "copy_rows__portable"
    op = Copy
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del node, graph, core
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        constant = graph.values[node.inputs[0] or ""].is_constant
        steps = row_steps(graph.input_types(node), y, {} if constant else {0: (1, 0, 1)})
        return Binding(self, (None if constant else Reads(Layout(y.dtype)),), (Layout(y.dtype),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        row_elements = view.y.type.row_elements
        row_bytes = row_elements * view.y.type.dtype.bytes
        data = view.graph.constant(view.node.inputs[0])
        if data is None and (view.x.pitch_key or view.y.pitch_key):
            return LayerCode((), (), render.render("copy/pixels.c.j2", view=view, element=c_element(view.y.dtype)))
        if data is None:
            helpers = (render.helper("copy"),) if view.peers else ()
            call = helpers[0].name if helpers else "memcpy"
            return LayerCode(helpers, (), f"    {call}({view.y.at(1, 0)}, {view.x.at(1, 0)}, {row_bytes});\n")
        if view.y.pitch_key:
            raise InternalError(self.name, "a constant whose pixels lie apart")
        source = f"{view.constant('values')} + step * {row_elements}u"
        body = f"    memcpy({view.y.at(1, 0)}, {source}, {row_bytes});\n"
        return LayerCode((), (Constant("values", data),), body)


KERNELS = (CopyRows(),)
