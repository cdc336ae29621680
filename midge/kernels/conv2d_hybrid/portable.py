"""Convolution of float32 rows by int8 weights in plain C99."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.targets.records import Core

_MOST_PRODUCTS = 60_000
"""So many products of int8 weights and int8 values less their zero point have a sum within 32 bits."""
_NUMBERS_BYTES = 12
"""Factor, scale and zero point of the quantised input, at the start of the scratch memory."""


_PARAMETERS = {
    "weights": "const int8_t *weights", "bias": "const float *bias", "scales": "const float *scales",
    "sums": "const int32_t *sums",
}  # fmt: skip
"""The C parameters that take the constants."""


class Conv2DHybridDirect(Kernel):
    """The first step finds the range of the whole input; then each makes a row, from a ring of quantised rows.

    Each input row is quantised once, into scratch memory, when the first window reaches it; the padding is made
    there too, so the input needs none.
    """

    name: ClassVar[str] = "conv2d_hybrid_f32_direct__portable"
    op = Conv2DHybrid

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        weights = graph.constant(node.inputs[1])
        if weights is None:
            return "the weights are not constant"
        if graph.values[node.inputs[0] or ""].is_constant:
            return "the input is constant"
        products = weights[0].size
        return f"the sum of {products} products can leave 32 bits" if products > _MOST_PRODUCTS else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = hybrid_window(node, graph)
        layout = Layout(DType.FLOAT32)
        others = (None,) * (len(node.inputs) - 1)
        steps = [Step(((0, window.x.rows - 1), *others), 0)]
        steps += [Step((_fresh_rows(window, row), *others), 1) for row in range(window.y.rows)]
        scratch_bytes = _NUMBERS_BYTES + _span(window) * _ring_row(window)
        return Binding(self, (Reads(layout), *others), (layout,), tuple(steps), scratch_bytes)

    def emit(self, view: TaskView) -> LayerCode:
        window, op = hybrid_window(view.node, view.graph), view.node.op
        assert isinstance(op, Conv2DHybrid)
        constants = _constants(view.node, view.graph, op)
        roles = [constant.role for constant in constants]
        function = _convolution(self.name, view.node, view.graph, window, roles)
        parameters = "hybrid_asymmetric_f32" if op.asymmetric else "hybrid_symmetric_f32"
        helpers = [
            render.helper(name) for name in ("round_f32", "range_f32", parameters, "rounded_f32", "quantize_row_f32")
        ]
        body = render.render(
            "conv2d_hybrid/layer.c.j2", view=view, window=window, span=_span(window), ring_row=_ring_row(window),
            numbers_bytes=_NUMBERS_BYTES, parameters=f"midge_{parameters}", low=-128 if op.asymmetric else -127,
            asymmetric=op.asymmetric,
            call=function.name, constants=[view.constant(role) for role in roles],
            is_padded=_ring_row(window) > window.x.row_elements or window.padding.top > 0 or window.bottom > 0,
        )  # fmt: skip
        return LayerCode((*helpers, *float_clamp(op.activation).helpers, function), tuple(constants), body)


def hybrid_window(node: Node, graph: Graph) -> Window:
    """The geometry of a hybrid convolution node."""
    op = node.op
    assert isinstance(op, Conv2DHybrid)
    x, weights, y = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0])
    return Window(
        x, y, weights.shape[1], weights.shape[2], op.stride_h, op.stride_w, op.dilation_h, op.dilation_w, op.padding
    )


def _span(window: Window) -> int:
    """Rows that a window reaches over; the ring holds so many."""
    return (window.kh - 1) * window.dilation_h + 1


def _ring_row(window: Window) -> int:
    """Bytes of a quantised row with its padding."""
    return (window.padding.left + window.x.columns + window.right) * window.x.channels


def _fresh_rows(window: Window, row: int) -> tuple[int, int]:
    """The input rows that output row `row` is the first to reach; none (first > last) where it reaches padding only."""
    span, top = _span(window), window.padding.top
    begin = row * window.stride_h
    first = max(begin, begin - window.stride_h + span) if row else 0
    clipped = min(max(first - top, 0), window.x.rows)
    return clipped, max(min(begin + span - 1 - top, window.x.rows - 1), clipped - 1)


def _constants(node: Node, graph: Graph, op: Conv2DHybrid) -> list[Constant]:
    weights = graph.constant(node.inputs[1])
    quantization = graph.type(node.inputs[1] or "").quantization
    assert weights is not None and quantization is not None
    constants = [Constant("weights", weights), Constant("bias", float_bias(node, graph, weights.shape[0]))]
    if len(quantization.scales) > 1:
        constants.append(Constant("scales", np.array(quantization.scales, np.float32)))
    if op.asymmetric:
        constants.append(Constant("sums", weights.reshape(weights.shape[0], -1).sum(1, dtype=np.int32)))
    return constants


def _convolution(name: str, node: Node, graph: Graph, window: Window, roles: list[str]) -> Function:
    """The C function that makes one row from quantised rows."""
    op, weights = node.op, graph.type(node.inputs[1] or "")
    assert isinstance(op, Conv2DHybrid) and weights.quantization is not None
    groups = window.x.channels // weights.shape[3]
    joined = groups == 1 and window.dilation_w == 1
    runs = 1 if joined else window.kw
    w_scale = "scales[n]" if "scales" in roles else render.c_float(weights.quantization.scales[0])
    return render.specialised(
        "conv2d_hybrid/portable.c.j2", f"{name}_{window.key}", window=window, groups=groups,
        group_inputs=weights.shape[3], group_outputs=window.y.channels // groups, runs=runs,
        run=window.kw * weights.shape[3] // runs, parameters=", ".join(_PARAMETERS[role] for role in roles),
        clamp=float_clamp(op.activation), asymmetric=op.asymmetric, w_scale=w_scale,
    )  # fmt: skip


KERNELS = (Conv2DHybridDirect(),)
