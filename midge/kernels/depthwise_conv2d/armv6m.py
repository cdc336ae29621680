"""Depthwise convolution for Armv6-M (Cortex-M0, M0+)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import NEAR_PITCH, Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.depthwise_conv2d import columns
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DS8, depthwise_window
from midge.kernels.layouts import EXCESS, EXCESS_PLANES, NATURAL
from midge.kernels.quantized import channel_scaling
from midge.kernels.requantize_armv6m import EXCESS as EXCESS_OF_BYTES
from midge.kernels.requantize_armv6m import Requantization, requantization
from midge.kernels.staircase import accumulator_range
from midge.kernels.view import TaskView
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core


class DepthwiseConv2DS8Columns(Kernel):
    """In assembly, up to three taps in a row, on rows in planes."""

    name: ClassVar[str] = "depthwise_conv2d_s8_columns__armv6m"
    op = DepthwiseConv2D
    most_pitch_bytes = NEAR_PITCH
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = DepthwiseConv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.kw > columns.MOST_TAPS or window.kh > columns.MOST_TAP_ROWS or window.dilation_w != 1:
            return "too many taps, or dilated rows"
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        return None if requantized(node, graph, self.layout) is not None else "no proven requantisation"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        reads = replace(window.reads(), layout=EXCESS_PLANES)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, self.layout)
        assert weights is not None and form is not None
        shape = columns.shape_of(window, view.x.plane_bytes)
        name = f"{view.prefix}_{self.name}_{window.key}p{shape.plane_bytes}{view.y.pitch_key}{form.key}"
        title = (
            f"Depthwise convolution {window.kh}x{window.kw}: {shape.columns} pixels of {shape.channels} channels out."
        )
        kernel = columns.function(name, shape, form, view.y, title)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="uint8_t",
                             constants=["weights"])  # fmt: skip
        stream = columns.weight_stream(weights, start_values(view.node, view.graph), form)
        return LayerCode((kernel,), (Constant("weights", stream, 4),), body)


class DepthwiseConv2DS8ColumnsToExcess(DepthwiseConv2DS8Columns):
    """The same; the next layer reads unsigned bytes."""

    name: ClassVar[str] = "depthwise_conv2d_s8_columns_to_excess__armv6m"
    layout = EXCESS


def start_values(node: Node, graph: Graph) -> np.ndarray:
    """What sums of products with `q + 128` start at."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    sums = weights.sum((0, 1, 2), dtype=np.int64)
    return channel_scaling(node, graph, sums).bias.astype(np.int64) - EXCESS_OF_BYTES * sums


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The proven requantisation of a depthwise convolution's sums, biases included."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    flat = weights.reshape(-1, weights.shape[-1]).T
    scaling = channel_scaling(node, graph, flat.sum(1, dtype=np.int64))
    lows, highs = accumulator_range(flat, scaling.bias, -128, 127)
    return requantization(scaling, lows, highs, layout)


KERNELS = (DepthwiseConv2DS8ColumnsToExcess(), DepthwiseConv2DS8Columns())
