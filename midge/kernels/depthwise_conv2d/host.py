"""Depthwise convolution for this computer: the portable kernels' numbers in vectors of channels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Constant, LayerCode
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DF32, DepthwiseConv2DS8, depthwise_window
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import channel_scaling
from midge.kernels.vectors import scale_function, scaled
from midge.kernels.view import TaskView
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core

MOST_TAPS = 64


def refuse_taps(node: Node, graph: Graph) -> str | None:
    """Why the taps of a channel can't be written out as one sum over vectors of channels."""
    window = depthwise_window(node, graph)
    if window.x.channels > 1 and window.y.channels != window.x.channels:
        return "several channels out for each of several in"
    return f"more than {MOST_TAPS} taps" if window.kh * window.kw > MOST_TAPS else None


class DepthwiseConv2DS8Host(DepthwiseConv2DS8):
    """All taps of a vector of channels in one sum."""

    name: ClassVar[str] = "depthwise_conv2d_s8_vectors__host"
    reads_pitched = False
    most_pitch_bytes = 0

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        return super().refuse(node, graph, core) or refuse_taps(node, graph)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        scaling = channel_scaling(view.node, view.graph, weights.sum((0, 1, 2), dtype=np.int64))
        kernel = render.specialised(
            "depthwise_conv2d/host_s8.c.j2", self.name, window=window, scaling=scaling,
            scaled=scaled(scaling, "acc", "n"),
        )  # fmt: skip
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name, element="int8_t",
                             constants=["weights", *scaling.roles])  # fmt: skip
        functions = (scale_function(scaling), render.helper("clamp"), kernel)
        return LayerCode(functions, (Constant("weights", weights), *scaling.constants), body)


class DepthwiseConv2DF32Host(DepthwiseConv2DF32):
    """All taps of a vector of channels in one sum; each channel's in the order of the portable kernel."""

    name: ClassVar[str] = "depthwise_conv2d_f32_vectors__host"
    reads_pitched = False
    most_pitch_bytes = 0

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        return super().refuse(node, graph, core) or refuse_taps(node, graph)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        op, weights = view.node.op, view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(op, DepthwiseConv2D)
        clamp = float_clamp(op.activation)
        kernel = render.specialised("depthwise_conv2d/host_f32.c.j2", self.name, window=window, clamp=clamp)
        bias = float_bias(view.node, view.graph, window.y.channels)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=kernel.name, element="midge_f32",
                             constants=["weights", "bias"])  # fmt: skip
        constants = (Constant("weights", weights), Constant("bias", bias))
        return LayerCode((*clamp.helpers, kernel), constants, body)


KERNELS = (DepthwiseConv2DS8Host(), DepthwiseConv2DF32Host())
