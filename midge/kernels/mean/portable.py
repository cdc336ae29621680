"""Means in plain C99: int8, int16 and float32, over any axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import Binding, Function, Kernel, LayerCode, Layout, Reads, Step, row_steps
from midge.kernels.loops import Loop, dense_strides, index_text, merged_loops
from midge.kernels.view import TaskView, c_element
from midge.ops.base import Rounding
from midge.ops.mean import Mean
from midge.targets.records import Core

_MOST_VALUES = {DType.INT8: 1 << 23, DType.INT16: 1 << 15}
"""So many values less their zero point have a sum within 32 bits."""


class MeanKernel(Kernel):
    """What means share; subclasses differ in how much of x a step takes."""

    template: str

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        x, op = graph.type(node.inputs[0] or ""), _op(node)
        if x.dtype not in (DType.INT8, DType.INT16, DType.FLOAT32):
            return f"{x.dtype.value} is neither int8, int16 nor float32"
        if graph.values[node.inputs[0] or ""].is_constant:
            return "the operand is constant"
        if x.dtype in _MOST_VALUES and _count(op, x) > _MOST_VALUES[x.dtype]:
            return f"the sum of {_count(op, x)} values can leave 32 bits"
        return self.refuse_shape(x, graph.type(node.outputs[0]), op.axes)

    def refuse_shape(self, x: TensorType, y: TensorType, axes: Sequence[int]) -> str | None:
        """Why the kernel can't reduce these axes."""
        del x, y, axes
        return None

    def function(self, view: TaskView, axes: Sequence[int]) -> tuple[Function, tuple[Function, ...]]:
        """The C function that goes through these axes of x, and the helpers that it calls."""
        x, y, op = view.x.type, view.y.type, _op(view.node)
        kept_loops = _loops(x, [axis for axis in axes if axis not in op.axes], "ijklmnop")
        reduced_loops = _loops(x, [axis for axis in axes if axis in op.axes], "qrstuvwz")
        index = " + ".join(text for text in (index_text(kept_loops, 0), index_text(reduced_loops, 0)) if text != "0")
        result, helpers = _result(op, x, y)
        is_float = x.dtype.is_float
        function = render.specialised(
            self.template, self.name, kept=kept_loops, reduced=reduced_loops, index=index or "0",
            count=_count(op, x), result=result,
            rows=x.rows, start="0.0f" if is_float else str(-x.zero_point * _count(op, x)),
            element=c_element(x.dtype), sum="float" if is_float else "int32_t",
            memory_sum="midge_f32" if is_float else "midge_s32",
        )  # fmt: skip
        return function, helpers


def _op(node: Node) -> Mean:
    assert isinstance(node.op, Mean)
    return node.op


def _count(op: Mean, x: TensorType) -> int:
    """Values that make one mean."""
    return math.prod(x.shape[axis] for axis in op.axes)


def _loops(x: TensorType, axes: Sequence[int], variables: str) -> tuple[Loop, ...]:
    strides = dense_strides(x.shape)
    return merged_loops([x.shape[axis] for axis in axes], ([strides[axis] for axis in axes],), variables)


def _result(op: Mean, x: TensorType, y: TensorType) -> tuple[str, tuple[Function, ...]]:
    """C expression of a mean made from `sum`, and the helpers that it calls."""
    if x.dtype.is_float:
        return f"sum / {_count(op, x)}.0f", ()
    multiplier_q31, shift = op.requantization(x, y)
    scaled = f"midge_scale_double(sum, {multiplier_q31}, {shift}){render.c_offset(y.zero_point)}"
    low, high = y.dtype.limits
    helpers = (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"))
    return f"({y.dtype.c_name})midge_clamp({scaled}, {low}, {high})", helpers


class MeanAccumulate(MeanKernel):
    """Over the rows (and perhaps more): one input row a step, added to 32-bit sums; the last one gives the result."""

    name: ClassVar[str] = "mean_accumulate__portable"
    op = Mean
    template = "mean/accumulate.c.j2"

    def refuse_shape(self, x: TensorType, y: TensorType, axes: Sequence[int]) -> str | None:
        if x.rows == 1 or 1 not in axes:
            return "not a mean over rows"
        return None if y.rows == 1 else "the result has several rows"

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        layout = Layout(x.dtype)
        steps = tuple(Step(((row, row),), 1 if row == x.rows - 1 else 0) for row in range(x.rows))
        return Binding(self, (Reads(layout),), (layout,), steps, scratch_bytes=4 * y.row_elements)

    def emit(self, view: TaskView) -> LayerCode:
        kernel, helpers = self.function(view, range(2, len(view.x.type.shape)))
        sums = f"({'midge_f32' if view.x.dtype.is_float else 'midge_s32'} *)(void *)({view.scratch})"
        body = f"    {kernel.name}({view.x.at(1, 0)}, {sums}, step, {view.y.at(0, 0)});\n"
        return LayerCode((*helpers, kernel), (), body)


class MeanRows(MeanKernel):
    """Within each row: one row a step."""

    name: ClassVar[str] = "mean_rows__portable"
    op = Mean
    template = "mean/reduce.c.j2"

    def refuse_shape(self, x: TensorType, y: TensorType, axes: Sequence[int]) -> str | None:
        if x.rows == 1 or 1 in axes:
            return "the mean is not within rows"
        return None if x.rows == y.rows else "the result has other rows"

    def bind(self, node: Node, graph: Graph) -> Binding:
        layout, y = Layout(graph.type(node.inputs[0] or "").dtype), graph.type(node.outputs[0])
        return Binding(self, (Reads(layout),), (layout,), row_steps(graph.input_types(node), y, {0: (1, 0, 1)}))

    def emit(self, view: TaskView) -> LayerCode:
        kernel, helpers = self.function(view, range(2, len(view.x.type.shape)))
        return LayerCode((*helpers, kernel), (), f"    {kernel.name}({view.x.at(1, 0)}, {view.y.at(1, 0)});\n")


class MeanWhole(MeanKernel):
    """Any axes, from the whole tensor: all of the result in one step, or one of its rows a step."""

    name: ClassVar[str] = "mean_whole__portable"
    op = Mean
    template = "mean/reduce.c.j2"

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        layout = Layout(x.dtype)
        steps = row_steps(graph.input_types(node), y, {0: (0, 0, x.rows)})
        return Binding(self, (Reads(layout, flat=x.rows > 1),), (layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        x, y = view.x.type, view.y.type
        rows_axis = _rows_axis(x, y, _op(view.node).axes)
        kernel, helpers = self.function(view, [axis for axis in range(len(x.shape)) if axis != rows_axis])
        source = view.x.whole()
        if rows_axis is not None:
            source += f" + step * {dense_strides(x.shape)[rows_axis]}u"
        return LayerCode((*helpers, kernel), (), f"    {kernel.name}({source}, {view.y.at(1, 0)});\n")


def _rows_axis(x: TensorType, y: TensorType, axes: Sequence[int]) -> int | None:
    """The axis of x that the result's rows come from; None where the result is one row."""
    if y.rows == 1:
        return None
    return next(axis for axis, size in enumerate(x.shape) if axis not in axes and size > 1)


KERNELS = (MeanAccumulate(), MeanRows(), MeanWhole())
