"""Depthwise convolution in plain C99: int8 and float32, any depth multiplier."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, row_steps
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import ChannelScaling, channel_scaling
from midge.kernels.view import TaskView
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
    """One output row from KH padded int8 rows, channel by channel."""

    name: ClassVar[str] = "depthwise_conv2d_s8_direct__portable"
    op = DepthwiseConv2D
    template: ClassVar[str] = "depthwise_conv2d/portable_s8.c.j2"
    over_bytes: ClassVar[int] = 0

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if (
            graph.type(node.outputs[0]).dtype is not DType.INT8
            or graph.type(node.inputs[0] or "").dtype is not DType.INT8
        ):
            return "not int8"
        if graph.constant(node.inputs[1]) is None:
            return "the weights are not constant"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        reads = (window.reads(over_bytes=self.over_bytes), None, None)[: len(node.inputs)]
        return Binding(self, reads, (Layout(DType.INT8),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        scaling = channel_scaling(view.node, view.graph, weights.sum((0, 1, 2), dtype=np.int64))
        names: dict[str, Any] = {
            "window": window,
            "scaling": scaling,
            "multiplier": window.y.channels // window.x.channels,
        }
        kernel = render.function(self.template, f"{self.name}_{window.key}{scaling.key}", **names)
        return LayerCode(
            (*self.helpers(scaling), kernel),
            (Constant("weights", weights, self.over_bytes + 1), *scaling.constants),
            render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name, element="int8_t",
                          constants=["weights", *scaling.roles]),
        )  # fmt: skip

    def helpers(self, scaling: ChannelScaling) -> tuple[Function, ...]:
        return (render.scale_helper(scaling.rounding), render.helper("clamp"))


class DepthwiseConv2DF32(Kernel):
    """One output row from KH padded float rows, channel by channel."""

    name: ClassVar[str] = "depthwise_conv2d_f32_direct__portable"
    op = DepthwiseConv2D

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
            "depthwise_conv2d/portable_f32.c.j2", f"{self.name}_{window.key}{clamp.key}",
            window=window, clamp=clamp, multiplier=window.y.channels // window.x.channels,
        )  # fmt: skip
        bias = float_bias(view.node, view.graph, window.y.channels)
        return LayerCode(
            (*clamp.helpers, kernel),
            (Constant("weights", weights), Constant("bias", bias)),
            render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name, element="midge_f32",
                          constants=["weights", "bias"]),
        )  # fmt: skip


KERNELS = (DepthwiseConv2DS8(), DepthwiseConv2DF32())
