"""Convolution with Helium (Cortex-M55): sixteen products an instruction."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import dots_held_mve, dots_mve, render
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.conv2d.portable import Conv2DS8, conv2d_window, pack_runs
from midge.kernels.layouts import NATURAL, PLANES
from midge.kernels.requantize_mve import requantized
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


class DotsKernel(Kernel):
    """In assembly: blocks of 2 pixels by 4 channels. Subclasses say how their operator is such a convolution."""

    stem: ClassVar[str]
    channel_axis: ClassVar[int]
    """Of the weights' output channels."""

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"{self.stem}{variant}__mve"
        self.layout = layout

    @abstractmethod
    def window(self, node: Node, graph: Graph) -> Window:
        """The geometry of a node."""

    @abstractmethod
    def weights(self, node: Node, graph: Graph) -> np.ndarray:
        """int8 [O, KH, KW, I]."""

    @abstractmethod
    def refuse_operator(self, node: Node, graph: Graph, core: Core) -> str | None:
        """Why the node is no convolution where all channels out share all channels in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = self.refuse_operator(node, graph, core)
        if reason is not None:
            return reason
        if dots_mve.reaches_far(dots_mve.convolution_shape(self.window(node, graph))):
            return "its pixels lie too far apart"
        return None if requantized(node, graph, self.channel_axis) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = self.window(node, graph)
        reads = window.reads(over_bytes=dots_mve.convolution_shape(window).over_bytes)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = self.window(view.node, view.graph)
        form = requantized(view.node, view.graph, self.channel_axis)
        assert form is not None
        shape = dots_mve.convolution_shape(window)
        pixel, channel = (1, view.y.plane_bytes) if self.layout.planes else (view.y.pixel_bytes, 1)
        name = f"{view.prefix}_{self.name}_{shape.key}_{form.key}p{channel}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        module = dots_held_mve if dots_held_mve.suits(shape) else dots_mve
        kernel = module.function(name, shape, form, pixel, channel, title)
        runs = pack_runs(self.weights(view.node, view.graph), len(shape.runs), 1)
        words = dots_mve.stream(runs, shape, form, pixel, channel)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="int8_t",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", words, 4),), body)


class Conv2DS8Dots(DotsKernel):
    """Convolutions without groups."""

    op = Conv2D
    stem = "conv2d_s8_dots"
    channel_axis = 0

    def window(self, node: Node, graph: Graph) -> Window:
        return conv2d_window(node, graph)

    def weights(self, node: Node, graph: Graph) -> np.ndarray:
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        return weights

    def refuse_operator(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = Conv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        is_whole = graph.type(node.inputs[1] or "").shape[3] == graph.type(node.inputs[0] or "").channels
        return None if is_whole else "it has groups"


KERNELS = (Conv2DS8Dots("", NATURAL), Conv2DS8Dots("_to_planes", PLANES))
