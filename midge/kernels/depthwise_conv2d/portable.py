"""Depthwise convolution in plain C99: int8, int16 and float32, any depth multiplier."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import offset_weights, render
from midge.kernels.base import ANY_PITCH, Binding, Constant, Function, Kernel, LayerCode, Layout, row_steps
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import channel_scaling
from midge.kernels.quantized_s16 import Scaling, wide_scaling
from midge.kernels.view import TaskView, c_element, pitch_key
from midge.kernels.window import Window
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core


def depthwise_window(node: Node, graph: Graph) -> Window:
    """The geometry of a depthwise convolution node."""
    op = node.op
    assert isinstance(op, DepthwiseConv2D)
    x, weights, y = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0])
    return Window(
        x, y, weights.shape[1], weights.shape[2], op.stride_h, op.stride_w, op.dilation_h, op.dilation_w, op.padding
    )


class DepthwiseConv2DS8(Kernel):
    """One output row from KH padded rows of integers, channel by channel."""

    name: ClassVar[str] = "depthwise_conv2d_s8_direct__portable"
    op = DepthwiseConv2D
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH
    template: ClassVar[str] = "depthwise_conv2d/portable.c.j2"
    dtype: ClassVar[DType] = DType.INT8
    weights: ClassVar[DType] = DType.INT8
    over_bytes: ClassVar[int] = 0

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        types = (graph.type(node.inputs[0] or ""), graph.type(node.outputs[0]))
        if any(type_.dtype is not self.dtype for type_ in types):
            return f"not {self.dtype.value}"
        return offset_weights.refuse_weights(node, graph, self.weights)

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        reads = (window.reads(over_bytes=self.over_bytes), None, None)[: len(node.inputs)]
        return Binding(self, reads, (Layout(self.dtype),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        scaling = self.scaling(view.node, view.graph, weights)
        stored, offset = offset_weights.as_bytes(weights)
        names: dict[str, Any] = {
            "window": window,
            "scaling": scaling,
            "weight": offset_weights.read(f"w[j * {window.y.channels}]", offset),
            "element": c_element(self.dtype),
            "multiplier": window.y.channels // window.x.channels,
            "x_pitch": view.x.pitch,
            "y_pitch": view.y.pitch,
        }
        key = f"{pitch_key(view)}{scaling.key}{offset_weights.key(offset)}"
        kernel = render.function(self.template, f"{self.name}_{window.key}{key}", **names)
        return LayerCode(
            (*self.helpers(scaling), kernel),
            (Constant("weights", stored, self.over_bytes + 1), *scaling.constants),
            render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name,
                          element=c_element(self.dtype), constants=["weights", *scaling.roles]),
        )  # fmt: skip

    def scaling(self, node: Node, graph: Graph, weights: np.ndarray) -> Scaling:
        """From accumulators to results."""
        return channel_scaling(node, graph, weights.sum((0, 1, 2), dtype=np.int64))

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        return scaling.helpers


class DepthwiseConv2DS8Offset(DepthwiseConv2DS8):
    """One output row from KH padded rows of int8; weights of 16 bits, stored as bytes."""

    name: ClassVar[str] = "depthwise_conv2d_s8_offset__portable"
    weights = DType.INT16


class DepthwiseConv2DS16(DepthwiseConv2DS8):
    """One output row from KH padded int16 rows; accumulators of 64 bits where 32 might not do."""

    name: ClassVar[str] = "depthwise_conv2d_s16_direct__portable"
    dtype = DType.INT16

    def scaling(self, node: Node, graph: Graph, weights: np.ndarray) -> Scaling:
        del weights
        assert isinstance(node.op, DepthwiseConv2D)
        return wide_scaling(node, graph, 3, node.op.rounding)


class DepthwiseConv2DF32(Kernel):
    """One output row from KH padded float rows, channel by channel."""

    name: ClassVar[str] = "depthwise_conv2d_f32_direct__portable"
    op = DepthwiseConv2D
    reads_pitched = True
    most_pitch_bytes = ANY_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        types = (graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0]))
        if any(type_.dtype is not DType.FLOAT32 for type_ in types):
            return "not float32"
        if graph.constant(node.inputs[1]) is None:
            return "the weights are not constant"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (window.reads(), None, None)[: len(node.inputs)], (Layout(DType.FLOAT32),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        op, weights = view.node.op, view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(op, DepthwiseConv2D)
        clamp = float_clamp(op.activation)
        kernel = render.function(
            "depthwise_conv2d/portable_f32.c.j2", f"{self.name}_{window.key}{pitch_key(view)}{clamp.key}",
            window=window, clamp=clamp, multiplier=window.y.channels // window.x.channels, x_pitch=view.x.pitch,
            y_pitch=view.y.pitch,
        )  # fmt: skip
        bias = float_bias(view.node, view.graph, window.y.channels)
        return LayerCode(
            (*clamp.helpers, kernel),
            (Constant("weights", weights), Constant("bias", bias)),
            render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name, element="midge_f32",
                          constants=["weights", "bias"]),
        )  # fmt: skip


KERNELS = (DepthwiseConv2DS8(), DepthwiseConv2DS8Offset(), DepthwiseConv2DS16(), DepthwiseConv2DF32())
