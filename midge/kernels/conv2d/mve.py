"""Convolution with Helium (Cortex-M55): sixteen products an instruction."""

from __future__ import annotations

from midge.ir.graph import Graph, Node
from midge.kernels import dots_mve, render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.conv2d.portable import Conv2DS8, conv2d_window, pack_runs
from midge.kernels.layouts import NATURAL, PLANES
from midge.kernels.requantize_mve import requantized
from midge.kernels.view import TaskView
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


class Conv2DS8Dots(Kernel):
    """In assembly: blocks of 2 pixels by 4 channels."""

    op = Conv2D

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"conv2d_s8_dots{variant}__mve"
        self.layout = layout

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = Conv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        if graph.type(node.inputs[1] or "").shape[3] != window.x.channels:
            return "it has groups"
        if dots_mve.reaches_far(dots_mve.convolution_shape(window)):
            return "its pixels lie too far apart"
        return None if requantized(node, graph, channel_axis=0) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        reads = window.reads(over_bytes=dots_mve.convolution_shape(window).over_bytes)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, channel_axis=0)
        assert weights is not None and form is not None
        shape = dots_mve.convolution_shape(window)
        pixel, channel = (1, view.y.plane_bytes) if self.layout.planes else (view.y.pixel_bytes, 1)
        name = f"{view.prefix}_{self.name}_{shape.key}_{form.key}p{channel}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        kernel = dots_mve.function(name, shape, form, pixel, channel, title)
        words = dots_mve.stream(pack_runs(weights, len(shape.runs), 1), shape, form, pixel, channel)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="int8_t",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", words, 4),), body)


KERNELS = (Conv2DS8Dots("", NATURAL), Conv2DS8Dots("_to_planes", PLANES))
