"""Transposed convolution in plain C99: each result from the few inputs that reach it, with the weights of its phase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import channel_scaling, refuse_overflow
from midge.kernels.quantized_s16 import wide_scaling
from midge.kernels.view import TaskView, c_element
from midge.ops.transposed_conv2d import Phases, TransposedConv2D
from midge.ops.windows import convolution_rounding
from midge.targets.records import Core


@dataclass(frozen=True, slots=True)
class Shape:
    """The geometry of a node: weights are read as [stride_h][stride_w][O][taps_h][taps_w][I]."""

    x: TensorType
    y: TensorType
    depth: int
    """Input channels of a group."""
    rows: Phases
    columns: Phases

    @property
    def groups(self) -> int:
        return self.x.channels // self.depth

    @property
    def row_weights(self) -> int:
        """Weights of all phases of a row."""
        return self.columns.stride * self.phase_weights

    @property
    def phase_weights(self) -> int:
        return self.y.channels * self.rows.taps * self.columns.taps * self.depth

    @property
    def skipped(self) -> int:
        """Pixels between the first one that a row's pointer points to and the first one needed."""
        return self.columns.before + self.columns.first - self.columns.taps + 1

    def phased(self, weights: np.ndarray) -> np.ndarray:
        """[stride_h, stride_w, O, taps_h, taps_w, I] of weights [O, KH, KW, I]."""
        return self.columns.by_phase(self.rows.by_phase(weights, 1), 3).transpose(1, 3, 0, 2, 4, 5)


def shape_of(node: Node, graph: Graph) -> Shape:
    op = node.op
    assert isinstance(op, TransposedConv2D)
    x, weights = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or "")
    return Shape(x, graph.type(node.outputs[0]), weights.shape[3], op.rows(x, weights), op.columns(x, weights))


class TransposedRows(Kernel):
    """One row of results a step."""

    op = TransposedConv2D
    dtype: DType
    template: ClassVar[str] = "transposed_conv2d/rows.c.j2"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.type(node.outputs[0]).dtype is not self.dtype:
            return f"not {self.dtype.value}"
        return None if graph.constant(node.inputs[1]) is not None else "the weights are not constant"

    def bind(self, node: Node, graph: Graph) -> Binding:
        shape = shape_of(node, graph)
        rows, columns = shape.rows, shape.columns
        reads = Reads(Layout(self.dtype), columns.before, columns.after, rows.before, rows.after)
        steps = []
        for row in range(rows.results):
            last = (row + rows.crop) // rows.stride
            steps.append(Step(((last - rows.taps + 1, last), None, None), 1))
        return Binding(self, (reads, None, None), (Layout(self.dtype),), tuple(steps))

    def layer(self, view: TaskView, shape: Shape, kernel: Function, phased: str, others: list[str]) -> str:
        """The body: pointers to the rows of the taps, then the kernel with the weights and start values of the phase.

        `phased` is the role of the start values, [stride_h][stride_w][O].
        """
        rows = shape.rows
        step = f"(step + {rows.crop}u)" if rows.crop else "step"
        last = f"{step} / {rows.stride}u" if rows.stride > 1 else step
        pointers = []
        for tap in range(rows.taps):
            offset = tap - rows.taps + 1 + view.x.top
            row = last + (f" {'+' if offset > 0 else '-'} {abs(offset)}u" if offset else "")
            pointers.append(view.x.at_row(row, before=shape.columns.before, top=0))
        phase = f" + {step} % {rows.stride}u" if rows.stride > 1 else ""
        weights = view.constant("weights") + (f"{phase} * {shape.row_weights}u" if phase else "")
        starts = shape.columns.stride * shape.y.channels
        start = view.constant(phased) + (f"{phase} * {starts}u" if phase else "")
        return render.render(
            "transposed_conv2d/layer.c.j2", element=c_element(self.dtype),
            pointers=pointers, call=kernel.name, y=view.y.at(1, 0),
            arguments=[weights, start, *(view.constant(role) for role in others)],
        )  # fmt: skip


class TransposedS8(TransposedRows):
    """Rows of int8; 32-bit accumulators."""

    name: ClassVar[str] = "transposed_conv2d_s8_phases__portable"
    dtype = DType.INT8

    def emit(self, view: TaskView) -> LayerCode:
        shape, weights = shape_of(view.node, view.graph), view.graph.constant(view.node.inputs[1])
        assert weights is not None
        phased = shape.phased(weights)
        scaling = channel_scaling(view.node, view.graph, np.zeros(shape.y.channels, np.int64))
        start = scaling.bias - shape.x.zero_point * phased.sum((3, 4, 5), dtype=np.int64)
        reach = np.abs(start) + 128 * np.abs(phased.astype(np.int64)).sum((3, 4, 5))
        refuse_overflow(view.node, view.graph, int(reach.max()))
        others = [constant for constant in scaling.constants if constant.role != "bias"]
        plain = "int8_t" if weights.dtype == np.int8 else "int16_t"
        parameters = "" if scaling.is_shared else ", const int32_t *multipliers, const int8_t *shifts"
        kernel = render.specialised(
            self.template, self.name, shape=shape, plain=plain, element="int8_t", sum="int32_t",
            first="start[n]", value=f"(int8_t){scaling.scaled('acc', 'n')}", parameters=parameters,
        )  # fmt: skip
        return LayerCode(
            (render.scale_helper(scaling.rounding), render.helper("clamp"), kernel),
            (Constant("weights", np.ascontiguousarray(phased)), Constant("start", start.astype(np.int32)), *others),
            self.layer(view, shape, kernel, "start", [constant.role for constant in others]),
        )


class TransposedS16(TransposedRows):
    """Rows of int16; accumulators of 64 bits where 32 might not do."""

    name: ClassVar[str] = "transposed_conv2d_s16_phases__portable"
    dtype = DType.INT16

    def emit(self, view: TaskView) -> LayerCode:
        shape, weights = shape_of(view.node, view.graph), view.graph.constant(view.node.inputs[1])
        assert weights is not None
        rounding = convolution_rounding(view.graph.input_types(view.node))
        scaling = wide_scaling(view.node, view.graph, 0, rounding)
        starts = np.broadcast_to(scaling.bias, (shape.rows.stride, shape.columns.stride, shape.y.channels))
        others = [constant for constant in scaling.constants if constant.role != "bias"]
        parameters = scaling.parameters.partition(",")[2]
        kernel = render.specialised(
            self.template, self.name, shape=shape, plain="int8_t", element=c_element(self.dtype), sum=scaling.acc,
            first="start[n]", value=f"(int16_t){scaling.scaled('acc', 'n')}",
            parameters=f",{parameters}" if parameters else "",
        )  # fmt: skip
        start = Constant("start", starts.astype(np.int32 if scaling.acc == "int32_t" else np.int64))
        return LayerCode(
            (*scaling.helpers, kernel),
            (Constant("weights", np.ascontiguousarray(shape.phased(weights))), start, *others),
            self.layer(view, shape, kernel, "start", [constant.role for constant in others]),
        )  # fmt: skip


class TransposedF32(TransposedRows):
    """Rows of float32."""

    name: ClassVar[str] = "transposed_conv2d_f32_phases__portable"
    dtype = DType.FLOAT32

    def emit(self, view: TaskView) -> LayerCode:
        shape, weights = shape_of(view.node, view.graph), view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(view.node.op, TransposedConv2D)
        clamp = float_clamp(view.node.op.activation)
        bias = float_bias(view.node, view.graph, shape.y.channels)
        kernel = render.specialised(
            self.template, self.name, shape=shape, plain="float", element="midge_f32", sum="float", first="0.0f",
            value=clamp.of("acc + start[n]"), parameters="",
        )  # fmt: skip
        start = np.broadcast_to(bias, (shape.rows.stride, shape.columns.stride, shape.y.channels))
        return LayerCode(
            (*clamp.helpers, kernel),
            (Constant("weights", np.ascontiguousarray(shape.phased(weights))),
             Constant("start", np.ascontiguousarray(start))),
            self.layer(view, shape, kernel, "start", []),
        )  # fmt: skip


KERNELS = (TransposedS8(), TransposedS16(), TransposedF32())
