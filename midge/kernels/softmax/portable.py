"""Softmax over the channels in plain C99: int8 and int16 in fixed point, float32."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.floating import exp_helpers
from midge.kernels.view import TaskView, c_element
from midge.ops.base import Rounding
from midge.ops.fixed_point import EXP_STEPS, exp_on_negative_values, multiply_by_quantized_multiplier
from midge.ops.softmax import Softmax, exp_table_s16, reciprocal_table_s16
from midge.targets.records import Core

_FEW = 64
"""Values of an inference whose powers may be computed where flash comes before latency: some 10,000 cycles."""
_MOST_CHANNELS = {DType.INT8: 4095, DType.INT16: 1 << 15}
"""The sum of so many powers, each at most 1 in Q12.19 or in Q16.15, stays within 31 bits."""


class SoftmaxRows(Kernel):
    """One row a step, pixel by pixel; each step reads a pixel whole before it writes, so the row may be overwritten."""

    dtype: DType

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        x = graph.type(node.inputs[0] or "")
        if x.dtype is not self.dtype:
            return f"not {self.dtype.value}"
        if graph.values[node.inputs[0] or ""].is_constant:
            return "the operand is constant"
        most = _MOST_CHANNELS.get(x.dtype, x.channels)
        if x.channels > most:
            return f"more than {most} channels: the sum can leave 32 bits"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        steps = row_steps(graph.input_types(node), y, {0: (1, 0, 1)})
        in_place = (0,) if y.dtype is self.dtype else ()
        return Binding(self, (Reads(Layout(self.dtype)),), (Layout(y.dtype),), steps, in_place=in_place)


class SoftmaxS8(SoftmaxRows):
    """Powers from a table of each difference to the maximum that counts; their sum's reciprocal by Newton's steps.

    Where RAM or flash come first, a few powers are computed: the table has up to 1 KB, the function a seventh of that.
    """

    name: ClassVar[str] = "softmax_s8_rows__portable"
    op = Softmax
    dtype = DType.INT8

    def emit(self, view: TaskView) -> LayerCode:
        op, x, y = view.node.op, view.x.type, view.y.type
        assert isinstance(op, Softmax)
        powers = powers_q31(op, x)
        names = {
            "channels": x.channels,
            "powers": len(powers),
            "element": c_element(y.dtype),
            "bits": 8 * y.dtype.bytes,
        }
        helpers = (render.helper("high_mul_q31"), render.helper("reciprocal_q31"))
        if view.peers and x.elements <= _FEW:
            parameters = op.parameters(x)
            distance = parameters.input_multiplier_q31, parameters.input_left_shift
            kernel = render.specialised("softmax/portable_s8.c.j2", f"{self.name}_computed", distance=distance, **names)
            exponential = render.function(
                "common/exp_q31.c.j2", "midge_exp_q31", steps=[factor for _, factor in EXP_STEPS]
            )
            return LayerCode((*helpers, exponential, kernel), (), _body(view, kernel.name, ""))
        kernel = render.function(
            "softmax/portable_s8.c.j2", f"{self.name}_{y.dtype.suffix}c{x.channels}t{len(powers)}",
            distance=None, **names,
        )  # fmt: skip
        body = _body(view, kernel.name, f", {view.constant('powers')}")
        return LayerCode((*helpers, kernel), (Constant("powers", powers),), body)


def powers_q31(op: Softmax, x: TensorType) -> np.ndarray:
    """exp(-d * scale * beta) in Q0.31 for d = 0, 1, … up to the last difference that counts, by the reference."""
    parameters = op.parameters(x)
    differences = -np.arange(min(255, -parameters.diff_min) + 1, dtype=np.int64)
    scaled = multiply_by_quantized_multiplier(
        differences, parameters.input_multiplier_q31, parameters.input_left_shift, Rounding.DOUBLE
    )
    return exp_on_negative_values(scaled).astype(np.int32)


class SoftmaxS16(SoftmaxRows):
    """Powers and the reciprocal of their sum by tables with straight lines between entries."""

    name: ClassVar[str] = "softmax_s16_rows__portable"
    op = Softmax
    dtype = DType.INT16

    def emit(self, view: TaskView) -> LayerCode:
        op, x = view.node.op, view.x.type
        assert isinstance(op, Softmax)
        multiplier_q31, shift = op.distance_s16(x)
        kernel = render.specialised(
            "softmax/portable_s16.c.j2", self.name, channels=x.channels, multiplier=multiplier_q31, shift=shift
        )
        tables = (Constant("powers", exp_table_s16()), Constant("reciprocals", reciprocal_table_s16()))
        helpers = (render.scale_helper(Rounding.DOUBLE), render.helper("clamp"), render.helper("line_s16"))
        arguments = "".join(f", {view.constant(table.role)}" for table in tables)
        return LayerCode((*helpers, kernel), tables, _body(view, kernel.name, arguments))


class SoftmaxF32(SoftmaxRows):
    """Powers into the result, then divided by their sum."""

    name: ClassVar[str] = "softmax_f32_rows__portable"
    op = Softmax
    dtype = DType.FLOAT32

    def emit(self, view: TaskView) -> LayerCode:
        op, x = view.node.op, view.x.type
        assert isinstance(op, Softmax)
        kernel = render.specialised(
            "softmax/portable_f32.c.j2", self.name, channels=x.channels, beta=render.c_float(op.beta)
        )
        body = _body(view, kernel.name, "")
        return LayerCode((*exp_helpers(), kernel), (), body)


def _body(view: TaskView, call: str, arguments: str) -> str:
    """Calls the kernel for each pixel of the row."""
    x = view.x.type
    return render.render(
        "softmax/layer.c.j2", view=view, call=call, arguments=arguments, columns=x.columns, channels=x.channels,
        x_element=c_element(view.x.dtype), y_element=c_element(view.y.dtype),
    )  # fmt: skip


KERNELS = (SoftmaxS8(), SoftmaxS16(), SoftmaxF32())
