"""Depthwise convolution for Armv6-M with the small multiplier: each channel's weights as shifts and additions."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, row_steps
from midge.kernels.depthwise_conv2d import channels_armv6m as channels
from midge.kernels.depthwise_conv2d.armv6m import start_values
from midge.kernels.depthwise_conv2d.columns import shape_of
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DS8, depthwise_window
from midge.kernels.digits_armv6m import DigitScaling, digit_scaling
from midge.kernels.layouts import EXCESS, EXCESS_PLANES, NATURAL
from midge.kernels.quantized import channel_scaling
from midge.kernels.staircase import accumulator_range
from midge.kernels.view import TaskView
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core


class DepthwiseConv2DS8Digits(Kernel):
    """In assembly, up to nine taps, on rows in planes."""

    name: ClassVar[str] = "depthwise_conv2d_s8_digits__armv6m_adds"
    op = DepthwiseConv2D
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = DepthwiseConv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.kh * window.kw > channels.MOST_TAPS or window.dilation_w != 1:
            return "too many taps, or dilated rows"
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        return None if _scaling(node, graph) is not None else "no proven requantisation"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        reads = replace(window.reads(), layout=EXCESS_PLANES)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights, scaling = view.graph.constant(view.node.inputs[1]), _scaling(view.node, view.graph)
        assert weights is not None and scaling is not None
        starts, shape = start_values(view.node, view.graph), shape_of(window, view.x.plane_bytes)
        title = (
            f"Depthwise convolution {window.kh}x{window.kw}: {shape.columns} pixels of {shape.channels} channels out."
        )
        parts = (weights, starts, *scaling.arrays, np.array([shape.plane_bytes, view.y.pixel_bytes]))
        digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:12]
        name = f"{view.prefix}_{self.name}_{window.key}_{digest}"
        kernel = channels.function(name, shape, weights[0], starts, scaling, self.layout, view.y, title)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="uint8_t",
                             constants=[])  # fmt: skip
        return LayerCode((kernel,), (), body)


class DepthwiseConv2DS8DigitsToExcess(DepthwiseConv2DS8Digits):
    """The same; the next layer reads unsigned bytes."""

    name: ClassVar[str] = "depthwise_conv2d_s8_digits_to_excess__armv6m_adds"
    layout = EXCESS


def _scaling(node: Node, graph: Graph) -> DigitScaling | None:
    """The proven requantisation of a depthwise convolution's sums, biases included."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    flat = weights.reshape(-1, weights.shape[-1]).T
    scaling = channel_scaling(node, graph, flat.sum(1, dtype=np.int64))
    return digit_scaling(scaling, *accumulator_range(flat, scaling.bias, -128, 127))


KERNELS = (DepthwiseConv2DS8DigitsToExcess(), DepthwiseConv2DS8Digits())
