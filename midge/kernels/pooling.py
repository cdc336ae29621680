"""What average and max pooling share."""

from __future__ import annotations

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import ANY_PITCH, Binding, Function, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.floating import float_clamp
from midge.kernels.view import TaskView, c_element, pitch_key
from midge.kernels.window import Window
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import quantized_bounds
from midge.ops.max_pool2d import MaxPool2D
from midge.targets.records import Core

_MOST_VALUES_S16 = 1 << 15
"""The sum of so many int16 values, and half their number, stay within 32 bits."""


def pool_window(node: Node, graph: Graph) -> Window:
    """The geometry of a pooling node."""
    op = node.op
    assert isinstance(op, AveragePool2D | MaxPool2D)
    x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
    return Window(x, y, op.kernel_h, op.kernel_w, op.stride_h, op.stride_w, 1, 1, op.padding)


def refuse_pool(node: Node, graph: Graph) -> str | None:
    """Why no pooling kernel can compute the node."""
    y = graph.type(node.outputs[0])
    if y.dtype not in (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32):
        return f"pools of {y.dtype.value}"
    window = pool_window(node, graph)
    if y.dtype is DType.INT16 and window.kh * window.kw > _MOST_VALUES_S16:
        return f"the sum of {window.kh * window.kw} values can leave 32 bits"
    return None


def clamped(node: Node, graph: Graph, expression: str) -> tuple[str, tuple[Function, ...], str]:
    """C text of the clamped expression, the helpers that it calls, and its mark in a function's name."""
    op, y = node.op, graph.type(node.outputs[0])
    assert isinstance(op, AveragePool2D | MaxPool2D)
    if y.dtype is DType.FLOAT32:
        clamp = float_clamp(op.activation)
        return clamp.of(expression), clamp.helpers, f"f32{clamp.key}"
    low, high = quantized_bounds(op.activation, y)
    if (low, high) == y.dtype.limits:
        return f"({y.dtype.c_name})({expression})", (), y.dtype.suffix
    text = f"({y.dtype.c_name})midge_clamp({expression}, {low}, {high})"
    return text, (render.helper("clamp"),), f"{y.dtype.suffix}l{low}u{high}".replace("-", "n")


class PoolRows(Kernel):
    """One output row from the rows of its window that exist; padding is left out, not read."""

    template: str
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return refuse_pool(node, graph)

    def bind(self, node: Node, graph: Graph) -> Binding:
        layout = Layout(graph.type(node.outputs[0]).dtype)
        return Binding(self, (Reads(layout),), (layout,), window_steps(pool_window(node, graph)))

    def emit(self, view: TaskView) -> LayerCode:
        window = pool_window(view.node, view.graph)
        element = c_element(window.y.dtype)
        text, helpers, key = clamped(view.node, view.graph, "value")
        full = all(low == step * window.stride_h - window.padding.top and high - low == window.kh - 1
                   for step, (low, high) in enumerate(s.needs[0] or (0, 0) for s in window_steps(window)))  # fmt: skip
        padding = "" if full and not (window.padding.left or window.right) else f"p{window.padding.left}"
        kernel = render.function(
            self.template, f"{self.name}_{window.key}{padding}{pitch_key(view)}{key}", window=window,
            element=element, result=text,
            is_float=window.y.dtype.is_float, full_rows=full, x_pitch=view.x.pitch, y_pitch=view.y.pitch,
        )  # fmt: skip
        body = render.render("common/window_rows.c.j2", view=view, window=window, element=element, full=full)
        body += f"    {kernel.name}(rows, count, {view.y.at(1, 0)});\n"
        return LayerCode((*helpers, kernel), (), body)


def window_steps(window: Window) -> tuple[Step, ...]:
    """One step for each output row, with the rows of its window that exist."""

    def need(row: int) -> tuple[int, int]:
        first = row * window.stride_h - window.padding.top
        return max(first, 0), min(first + window.kh, window.x.rows) - 1

    return tuple(Step((need(row),), 1) for row in range(window.y.rows))
