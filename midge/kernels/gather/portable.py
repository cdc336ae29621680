"""Parts of a tensor by indices that vary in plain C99, any element type."""

from __future__ import annotations

import math
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.view import TaskView, c_element
from midge.ops.gather import Gather
from midge.targets.records import Core


class GatherRows(Kernel):
    """One row a step, from all of x and all indices."""

    name: ClassVar[str] = "gather_rows__portable"
    op = Gather

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the indices are constant" if graph.constant(node.inputs[1]) is not None else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        reads: list[Reads | None] = []
        windows = {}
        for position, name in enumerate(node.inputs):
            value = graph.values[name or ""]
            reads.append(None if value.is_constant else Reads(Layout(value.type.dtype), flat=value.type.rows > 1))
            if not value.is_constant:
                windows[position] = (0, 0, value.type.rows)
        return Binding(self, tuple(reads), (Layout(y.dtype),), row_steps(graph.input_types(node), y, windows))

    def emit(self, view: TaskView) -> LayerCode:
        op, y = view.node.op, view.y.type
        x_type, indices_type = (view.graph.type(name or "") for name in view.node.inputs)
        assert isinstance(op, Gather)
        size, inner = x_type.shape[op.axis], math.prod(x_type.shape[op.axis + 1 :])
        # Both are products of the result's last dimensions, so one divides the other.
        run = min(inner, y.row_elements)
        kernel = render.specialised(
            "gather/rows.c.j2", self.name, element=c_element(y.dtype), index=c_element(indices_type.dtype),
            index_plain=indices_type.dtype.c_name, size=size, inner=inner, count=indices_type.elements, run=run,
            turns=y.row_elements // run, parts=inner // run, run_bytes=run * y.dtype.bytes,
        )  # fmt: skip
        rows, indices = view.inputs
        assert indices is not None
        data = view.graph.constant(view.node.inputs[0])
        constants = () if data is None else (Constant("x", data),)
        source = view.constant("x") if rows is None else rows.whole()
        body = f"    {kernel.name}({source}, {indices.whole()}, {view.y.at(1, 0)}, (int32_t)step);\n"
        return LayerCode((kernel,), constants, body)


KERNELS = (GatherRows(),)
