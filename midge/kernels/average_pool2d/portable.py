"""Average pooling in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import ANY_PITCH, Binding, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.pooling import PoolRows, clamped, pool_window, refuse_pool
from midge.kernels.view import TaskView, c_element, pitch_key
from midge.ops.average_pool2d import AveragePool2D
from midge.targets.records import Core


class AveragePool2DRows(PoolRows):
    """One output row from the rows of its window."""

    name: ClassVar[str] = "average_pool2d_rows__portable"
    op = AveragePool2D
    template = "average_pool2d/rows.c.j2"


class AveragePool2DAccumulate(Kernel):
    """One input row a step, added to 32-bit sums: pooling over a whole image keeps one row, not all of them."""

    name: ClassVar[str] = "average_pool2d_accumulate__portable"
    op = AveragePool2D
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        window = pool_window(node, graph)
        padding = window.padding
        if padding.top or padding.left or window.right or window.bottom:
            return "the window is padded"
        if window.stride_h < window.kh and window.y.rows > 1:
            return "windows share rows"
        return refuse_pool(node, graph)

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = pool_window(node, graph)
        layout = Layout(window.y.dtype)
        steps = tuple(
            Step(((row * window.stride_h + tap, row * window.stride_h + tap),), 1 if tap == window.kh - 1 else 0)
            for row in range(window.y.rows)
            for tap in range(window.kh)
        )
        return Binding(self, (Reads(layout),), (layout,), steps, scratch_bytes=4 * window.y.row_elements)

    def emit(self, view: TaskView) -> LayerCode:
        window = pool_window(view.node, view.graph)
        element = c_element(window.y.dtype)
        is_float = window.y.dtype.is_float
        text, helpers, key = clamped(view.node, view.graph, "value")
        kernel = render.function(
            "average_pool2d/accumulate.c.j2", f"{self.name}_{window.key}{pitch_key(view)}{key}", window=window,
            element=element, x_pitch=view.x.pitch, y_pitch=view.y.pitch,
            sum="midge_f32" if is_float else "midge_s32", plain_sum="float" if is_float else "int32_t",
            is_float=is_float, values=window.kh * window.kw, result=text,
        )  # fmt: skip
        row, tap, out = accumulated_rows(view)
        sums = f"({'midge_f32' if is_float else 'midge_s32'} *)(void *)({view.scratch})"
        return LayerCode((*helpers, kernel), (), f"    {kernel.name}({row}, {sums}, {tap}, {out});\n")


def accumulated_rows(view: TaskView) -> tuple[str, str, str]:
    """C texts of a step's input row, its number in the window, and the window's row of results."""
    window = pool_window(view.node, view.graph)
    if window.y.rows == 1:
        return view.x.at(1, 0), "step", view.y.at(0, 0)
    number = f"step / {window.kh}u"
    row = view.x.at_row(f"({number} * {window.stride_h}u + step % {window.kh}u)")
    return row, f"step % {window.kh}u", view.y.at_row(f"({number})")


KERNELS = (AveragePool2DAccumulate(), AveragePool2DRows())
