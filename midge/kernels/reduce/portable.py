"""Sums, products, largest and smallest values over axes in plain C99."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.loops import Loop, dense_strides, index_text, merged_loops
from midge.kernels.view import TaskView, c_element
from midge.ops.reduce import Function, Reduce
from midge.targets.records import Core

_COMBINED = {
    Function.MAX: "value > result ? value : result", Function.MIN: "value < result ? value : result",
    Function.PROD: "result * value", Function.SUM: "result + value",
}  # fmt: skip


class ReduceWhole(Kernel):
    """Any axes, from the whole tensor; one row of the result a step."""

    name: ClassVar[str] = "reduce_whole__portable"
    op = Reduce

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        x = graph.values[node.inputs[0] or ""]
        if x.type.dtype not in (DType.INT8, DType.FLOAT32):
            return f"{x.type.dtype.value} is neither int8 nor float32"
        return "the operand is constant" if x.is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        layout = Layout(x.dtype)
        steps = row_steps(graph.input_types(node), y, {0: (0, 0, x.rows)})
        return Binding(self, (Reads(layout, flat=x.rows > 1),), (layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        x, y, op = view.x.type, view.y.type, view.node.op
        assert isinstance(op, Reduce)
        rows_axis = _rows_axis(x, y, op.axes)
        kept = _loops(x, [a for a in range(len(x.shape)) if a not in op.axes and a != rows_axis], "ijklmnop")
        reduced = _loops(x, list(op.axes), "qrstuvwz")
        start = index_text(kept, 0)
        index = " + ".join(text for text in (start, index_text(reduced, 0)) if text != "0") or "0"
        is_float = x.dtype.is_float
        kernel = render.specialised(
            "reduce/reduce.c.j2", self.name, kept=kept, reduced=reduced, index=index, start=_start(op, start),
            function=op.function.value, combined=_COMBINED[op.function], element=c_element(x.dtype),
            plain="float" if is_float else "int8_t",
        )  # fmt: skip
        source = view.x.whole()
        if rows_axis is not None:
            source += f" + step * {dense_strides(x.shape)[rows_axis]}u"
        return LayerCode((kernel,), (), f"    {kernel.name}({source}, {view.y.at(1, 0)});\n")


def _start(op: Reduce, first: str) -> str:
    """C expression of the first intermediate result."""
    return {Function.SUM: "0.0f", Function.PROD: "1.0f"}.get(op.function, f"x[{first}]")


def _loops(x: TensorType, axes: Sequence[int], variables: str) -> tuple[Loop, ...]:
    strides = dense_strides(x.shape)
    return merged_loops([x.shape[axis] for axis in axes], ([strides[axis] for axis in axes],), variables)


def _rows_axis(x: TensorType, y: TensorType, axes: Sequence[int]) -> int | None:
    """The axis of x that the result's rows come from; None where the result is one row."""
    if y.rows == 1:
        return None
    return next(axis for axis, size in enumerate(x.shape) if axis not in axes and size > 1)


KERNELS = (ReduceWhole(),)
