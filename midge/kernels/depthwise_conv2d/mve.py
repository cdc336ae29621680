"""Depthwise convolution with Helium (Cortex-M55): whole windows in a vector."""

from __future__ import annotations

from dataclasses import replace

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.depthwise_conv2d import gathers_mve
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DS8, depthwise_window
from midge.kernels.layouts import NATURAL, PLANES
from midge.kernels.requantize_mve import requantized
from midge.kernels.view import TaskView
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core


class DepthwiseConv2DS8Gathers(Kernel):
    """In assembly, on rows in planes."""

    op = DepthwiseConv2D

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"depthwise_conv2d_s8_gathers{variant}__mve"
        self.layout = layout

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = DepthwiseConv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        reason = gathers_mve.refuse(gathers_mve.shape_of(window))
        if reason is not None:
            return reason
        return None if requantized(node, graph, channel_axis=3) is not None else "no requantisation in 32 bits"

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


KERNELS = (DepthwiseConv2DS8Gathers("", NATURAL), DepthwiseConv2DS8Gathers("_to_planes", PLANES))
