"""Depthwise convolution with Helium (Cortex-M55): whole windows in a vector, or 16 channels."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.conv2d.mve import DotsKernel
from midge.kernels.depthwise_conv2d import gathers_mve, lanes_mve
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DS8, depthwise_window
from midge.kernels.layouts import NATURAL, PLANES
from midge.kernels.requantize_mve import requantized
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core

_FEWEST_COLUMNS = 8
"""In a row of the result, where gathered windows take fewer instructions than vectors of channels."""


def _refuse(node: Node, graph: Graph, core: Core) -> str | None:
    """What no kernel here can do."""
    reason = DepthwiseConv2DS8().refuse(node, graph, core)
    if reason is not None:
        return reason
    window = depthwise_window(node, graph)
    if window.x.channels != window.y.channels:
        return "the depth multiplier is not 1"
    return None if requantized(node, graph, channel_axis=3) is not None else "no requantisation in 32 bits"


class DepthwiseConv2DS8Gathers(Kernel):
    """In assembly, on rows in planes: several windows in a vector."""

    op = DepthwiseConv2D

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"depthwise_conv2d_s8_gathers{variant}__mve"
        self.layout = layout

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = _refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.y.columns < _FEWEST_COLUMNS:
            return "its rows are short: channels across the lanes are faster"
        reason = gathers_mve.refuse(gathers_mve.shape_of(window))
        if reason is not None:
            return reason
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        reads = replace(window.reads(over_bytes=gathers_mve.OVER_BYTES), layout=PLANES)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, channel_axis=3)
        assert weights is not None and form is not None
        shape = gathers_mve.shape_of(window)
        places = gathers_mve.places_of(shape, window, view.x, view.y, is_in_planes=self.layout.planes)
        key = f"{shape.key}_{form.key}x{places.x_plane}y{places.y_channel}{'_staged' if places.is_staged else ''}"
        name = f"{view.prefix}_{self.name}_{key}"
        title = f"Depthwise convolution {window.kh}x{window.kw}: {shape.columns} pixels of {shape.channels} channels."
        kernel = gathers_mve.function(name, shape, form, places, title)
        words = gathers_mve.stream(weights[0], shape, form, places)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="int8_t",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", words, 4),), body)


class DepthwiseConv2DS8Lanes(Kernel):
    """In assembly, on natural rows: 16 channels in a vector."""

    name: ClassVar[str] = "depthwise_conv2d_s8_lanes__mve"
    op = DepthwiseConv2D

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = _refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        return f"more than {lanes_mve.MOST_TAPS} taps" if window.kh * window.kw > lanes_mve.MOST_TAPS else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        reads = window.reads(over_bytes=-window.x.channels % lanes_mve.LANES)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (NATURAL,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, channel_axis=3)
        assert weights is not None and form is not None
        shape = lanes_mve.shape_of(window, weights[0])
        name = f"{view.prefix}_{self.name}_{shape.key}_{form.key}"
        title = f"Depthwise convolution {window.kh}x{window.kw}: {shape.columns} pixels of {shape.channels} channels."
        kernel = lanes_mve.function(name, shape, form, title)
        words = lanes_mve.stream(weights[0], form)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="int8_t",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", words, 4),), body)


class DepthwiseConv2DS8Dots(DotsKernel):
    """One channel in, several out: a convolution like any other."""

    op = DepthwiseConv2D
    stem = "depthwise_conv2d_s8_dots"
    channel_axis = 3

    def window(self, node: Node, graph: Graph) -> Window:
        return depthwise_window(node, graph)

    def weights(self, node: Node, graph: Graph) -> np.ndarray:
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        return weights.transpose(3, 1, 2, 0)

    def refuse_operator(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = DepthwiseConv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        return None if window.x.channels == 1 < window.y.channels else "not one channel to several"


KERNELS = (
    DepthwiseConv2DS8Dots("", NATURAL),
    DepthwiseConv2DS8Dots("_to_planes", PLANES),
    DepthwiseConv2DS8Gathers("", NATURAL),
    DepthwiseConv2DS8Gathers("_to_planes", PLANES),
    DepthwiseConv2DS8Lanes(),
)
