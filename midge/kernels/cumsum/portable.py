"""Sums of all values so far in plain C99."""

from __future__ import annotations

import math
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import TensorType
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.view import TaskView, c_element
from midge.ops.cumsum import Cumsum
from midge.targets.records import Core


class CumsumRows(Kernel):
    """One row a step; sums that go on from row to row live in scratch memory."""

    name: ClassVar[str] = "cumsum_rows__portable"
    op = Cumsum

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x = graph.type(node.inputs[0] or "")
        layout = Layout(x.dtype)
        scratch = x.row_elements * x.dtype.bytes if _goes_on(node, x) else 0
        return Binding(self, (Reads(layout),), (layout,), row_steps((x,), x, {0: (1, 0, 1)}), scratch_bytes=scratch,
                       in_place=(0,))  # fmt: skip

    def emit(self, view: TaskView) -> LayerCode:
        op, x = view.node.op, view.x.type
        assert isinstance(op, Cumsum)
        goes_on = _goes_on(view.node, x)
        # Of the axes within a row: [outer, count, inner].
        shape = x.shape if x.rows == 1 else (1, *x.shape[2:])
        axis = op.axis if x.rows == 1 else max(0, op.axis - 1)
        kernel = render.specialised(
            "cumsum/rows.c.j2", self.name, element=c_element(x.dtype), exclusive=op.exclusive, goes_on=goes_on,
            plain="float" if x.dtype.is_float else "uint32_t", result="" if x.dtype.is_float else f"({x.dtype.c_name})",
            outer=math.prod(shape[:axis]), count=shape[axis], inner=math.prod(shape[axis + 1 :]),
        )  # fmt: skip
        more = f", ({c_element(x.dtype)} *)({view.scratch}), step == 0u" if goes_on else ""
        body = f"    {kernel.name}({view.x.at(1, 0)}, {view.y.at(1, 0)}{more});\n"
        return LayerCode((kernel,), (), body)


def _goes_on(node: Node, x: TensorType) -> bool:
    """True where a row needs the sums of the rows before it."""
    assert isinstance(node.op, Cumsum)
    return x.rows > 1 and node.op.axis == 1


KERNELS = (CumsumRows(),)
