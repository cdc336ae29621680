"""A part of a tensor replaced, in plain C99, any element type."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.loops import VARIABLES, dense_strides
from midge.kernels.view import TaskView, c_element
from midge.ops.dynamic_update_slice import DynamicUpdateSlice
from midge.targets.records import Core


class DynamicUpdateSliceRows(Kernel):
    """One row a step: x's, which may be overwritten, and over it the update's, where that has one."""

    name: ClassVar[str] = "dynamic_update_slice_rows__portable"
    op = DynamicUpdateSlice

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the tensor is constant" if graph.constant(node.inputs[0]) is not None else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x = graph.type(node.inputs[0] or "")
        reads: list[Reads | None] = [Reads(Layout(x.dtype))]
        windows = {0: (1, 0, 1)}
        for position, name in enumerate(node.inputs[1:], start=1):
            value = graph.values[name or ""]
            reads.append(None if value.is_constant else Reads(Layout(value.type.dtype), flat=value.type.rows > 1))
            if not value.is_constant:
                windows[position] = (0, 0, value.type.rows)
        steps = row_steps(graph.input_types(node), x, windows)
        return Binding(self, tuple(reads), (Layout(x.dtype),), steps, in_place=(0,))

    def emit(self, view: TaskView) -> LayerCode:
        x, update, start = (view.graph.type(name or "") for name in view.node.inputs)
        # Axes before the row's are of one element, and so is the update there.
        first = 2 if x.rows > 1 else 0
        axes = list(range(first, len(x.shape)))
        strides = dense_strides(x.shape)
        loops = [(variable, update.shape[axis], strides[axis], axis)
                 for variable, axis in zip(VARIABLES, axes[:-1], strict=False)]  # fmt: skip
        last = axes[-1] if axes else None
        kernel = render.specialised(
            "dynamic_update_slice/rows.c.j2", self.name, element=c_element(x.dtype), index=c_element(start.dtype),
            index_plain=start.dtype.c_name, by_rows=x.rows > 1, row_bytes=x.row_elements * x.dtype.bytes,
            most=[a - b for a, b in zip(x.shape, update.shape, strict=True)], used=axes, loops=loops, last=last,
            run=1 if last is None else update.shape[last], item_bytes=x.dtype.bytes,
            rows=update.shape[1] if x.rows > 1 else 1, row_update=update.row_elements,
        )  # fmt: skip
        constants, pointers = [], []
        for position, role in ((1, "update"), (2, "start")):
            data, rows = view.graph.constant(view.node.inputs[position]), view.inputs[position]
            if data is not None:
                constants.append(Constant(role, data))
            pointers.append(view.constant(role) if rows is None else rows.whole())
        body = f"    {kernel.name}({view.x.at(1, 0)}, {', '.join(pointers)}, {view.y.at(1, 0)}, (int32_t)step);\n"
        clamp = render.function("dynamic_update_slice/inside.c.j2", f"midge_inside_{start.dtype.suffix}",
                                index=start.dtype.c_name)  # fmt: skip
        return LayerCode((clamp, kernel), tuple(constants), body)


KERNELS = (DynamicUpdateSliceRows(),)
