"""Convolution for Armv6-M with the small multiplier: sums of subsets of the inputs, no multiplications."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels import subset_sums_armv6m as sums
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.conv2d.armv6m import flat_weights, start_values
from midge.kernels.conv2d.portable import conv2d_window, refuse_unless_dense
from midge.kernels.digits_armv6m import DigitScaling, digit_scaling
from midge.kernels.dots_armv6m import MOST_TAP_ROWS, shape_of
from midge.kernels.layouts import EXCESS, EXCESS_PLANES, NATURAL
from midge.kernels.quantized import channel_scaling
from midge.kernels.staircase import accumulator_range
from midge.kernels.subsets_armv6m import Subsets, subsets
from midge.kernels.view import TaskView
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


class Conv2DS8Subsets(Kernel):
    """In assembly: two pixels by one channel, six taps at a time."""

    name: ClassVar[str] = "conv2d_s8_subsets__armv6m_adds"
    op = Conv2D
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core)
        if reason is not None:
            return reason
        if conv2d_window(node, graph).kh > MOST_TAP_ROWS:
            return "too many rows of taps"
        return None if _scaling(node, graph) is not None else "no proven requantisation"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        reads = replace(window.reads(), layout=EXCESS)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps,
                       _layer(node, graph).scratch_bytes, keeps_scratch=False)  # fmt: skip

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        layer = _layer(view.node, view.graph)
        plane = f"p{view.y.plane_bytes}" if self.layout.planes else ""
        name = f"{view.prefix}_{self.name}_{window.key}{layer.key}{plane}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        kernel = sums.function(name, shape_of(window), layer, self.layout, view.y, title)
        body = render.render("conv2d/subsets_layer.c.j2", view=view, window=window, call=name)
        return LayerCode((kernel,), (Constant("weights", layer.stream(), 4),), body)


class Conv2DS8SubsetsToExcess(Conv2DS8Subsets):
    """The same; the next layer reads unsigned bytes."""

    name: ClassVar[str] = "conv2d_s8_subsets_to_excess__armv6m_adds"
    layout = EXCESS


class Conv2DS8SubsetsToPlanes(Conv2DS8Subsets):
    """The same; the next layer is a depthwise convolution."""

    name: ClassVar[str] = "conv2d_s8_subsets_to_planes__armv6m_adds"
    layout = EXCESS_PLANES


def _scaling(node: Node, graph: Graph) -> DigitScaling | None:
    """The proven requantisation of sums of products, biases included."""
    flat = flat_weights(node, graph)
    scaling = channel_scaling(node, graph, flat.sum(1, dtype=np.int64))
    return digit_scaling(scaling, *accumulator_range(flat, scaling.bias, -128, 127))


def _layer(node: Node, graph: Graph) -> sums.SubsetLayer:
    scaling, flat = _scaling(node, graph), flat_weights(node, graph)
    assert scaling is not None
    is_paired = graph.type(node.outputs[0]).columns > 1
    return sums.SubsetLayer(_subsets(flat.tobytes(), len(flat), is_paired), scaling, start_values(node, graph))


@lru_cache(maxsize=64)
def _subsets(weights: bytes, channels: int, is_paired: bool) -> Subsets:
    """Found once, however often the planner asks."""
    return subsets(np.frombuffer(weights, np.int8).reshape(channels, -1), is_paired=is_paired)


KERNELS = (Conv2DS8SubsetsToPlanes(), Conv2DS8SubsetsToExcess(), Conv2DS8Subsets())
