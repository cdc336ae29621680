"""Bilinear resizing in plain C99: each row from two rows of the image, by tables of columns and weights."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import ANY_PITCH, Binding, Constant, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.view import TaskView, c_element
from midge.ops.resize_bilinear import FRACTION_BITS, ResizeBilinear
from midge.targets.records import Core


class ResizeRows(Kernel):
    """One row a step, float32 or int8."""

    name: ClassVar[str] = "resize_bilinear_rows__portable"
    op = ResizeBilinear
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, op = graph.type(node.inputs[0] or ""), node.op
        assert isinstance(op, ResizeBilinear)
        rows, layout = op.rows(x), Layout(x.dtype)
        steps = tuple(Step(((int(low), int(high)),), 1) for low, high in zip(rows.low, rows.high, strict=True))
        return Binding(self, (Reads(layout),), (layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        op, x = view.node.op, view.x.type
        assert isinstance(op, ResizeBilinear)
        rows, columns = op.rows(x), op.columns(x)
        is_float = x.dtype is not DType.INT8
        weight = np.float32 if is_float else np.int16
        kernel = render.specialised(
            "resize_bilinear/rows.c.j2", self.name, width=op.width, channels=x.channels, element=c_element(x.dtype),
            is_float=is_float, is_byte=x.dtype is DType.UINT8, one=1 << FRACTION_BITS,
            half=1 << (2 * FRACTION_BITS - 1), whole=1 << (2 * FRACTION_BITS),
            x_pitch=view.x.pitch, y_pitch=view.y.pitch,
        )  # fmt: skip
        constants = [
            Constant("down", rows.weight.astype(weight)),
            Constant("columns", np.stack([columns.low, columns.high], 1).astype(np.int16)),
            Constant("right", columns.weight.astype(weight)),
        ]
        pair = [view.x.at_row("0u")] * 2
        if view.x.height > 1:
            constants.append(Constant("rows", np.stack([rows.low, rows.high], 1).astype(np.int16)))
            pair = [view.x.at_row(f"(uint32_t){view.constant('rows')}[step * 2u + {side}u]") for side in range(2)]
        body = (
            f"    {kernel.name}({', '.join(pair)}, {view.y.at(1, 0)}, {view.constant('down')}[step], "
            f"{view.constant('columns')}, {view.constant('right')});\n"
        )
        return LayerCode((kernel,), tuple(constants), body)


KERNELS = (ResizeRows(),)
