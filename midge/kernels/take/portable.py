"""Elements by a table of positions in plain C99, any element type."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.view import TaskView, c_element
from midge.ops.take import Take
from midge.targets.records import Core


class TakeRows(Kernel):
    """One row a step, from all of x. Positions are 16 bits wide where that is enough."""

    name: ClassVar[str] = "take_rows__portable"
    op = Take

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        positions, x = graph.constant(node.inputs[1]), graph.values[node.inputs[0] or ""]
        if positions is None or x.is_constant:
            return "positions vary, or x does not"
        if positions.min(initial=0) < 0 or positions.max(initial=0) >= x.type.elements:
            return "positions outside x"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        steps = tuple(Step(((0, x.rows - 1), None), 1) for _ in range(y.rows))
        return Binding(self, (Reads(Layout(x.dtype), flat=x.rows > 1), None), (Layout(y.dtype),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        positions = view.graph.constant(view.node.inputs[1])
        assert positions is not None
        narrow = view.x.type.elements <= 1 << 15
        kernel = render.specialised(
            "take/rows.c.j2", self.name, element=c_element(view.y.dtype), position="int16_t" if narrow else "int32_t"
        )
        table = Constant("positions", positions.reshape(-1).astype(np.int16 if narrow else np.int32))
        count = view.y.type.row_elements
        at = f"{view.constant('positions')} + step * {count}u" if view.y.type.rows > 1 else view.constant("positions")
        body = f"    {kernel.name}({view.x.whole()}, {view.y.at(1, 0)}, {at}, {count});\n"
        return LayerCode((kernel,), (table,), body)


KERNELS = (TakeRows(),)
