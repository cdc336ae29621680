"""Depthwise convolution for RV32M."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import NEAR_PITCH, Binding, Constant, Kernel, LayerCode, row_steps
from midge.kernels.depthwise_conv2d import columns_rv32 as columns
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DS8, depthwise_window
from midge.kernels.layouts import NATURAL, PLANES
from midge.kernels.requantize_rv32 import requantized
from midge.kernels.view import TaskView
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.targets.records import Core


class DepthwiseConv2DS8Columns(Kernel):
    """In assembly, on rows in planes."""

    name: ClassVar[str] = "depthwise_conv2d_s8_columns__rv32"
    op = DepthwiseConv2D
    most_pitch_bytes = NEAR_PITCH

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = DepthwiseConv2DS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.kw > columns.MOST_TAPS or window.kh > columns.MOST_TAPS or window.dilation_w != 1:
            return "too many taps, or dilated rows"
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        return None if requantized(node, graph, NATURAL, -1) is not None else "no proven requantisation"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = depthwise_window(node, graph)
        reads = replace(window.reads(), layout=PLANES)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (NATURAL,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = depthwise_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, NATURAL, -1)
        assert weights is not None and form is not None
        shape = columns.shape_of(window, view.x.plane_bytes)
        start = "" if form.starts.any() else "s0"
        name = f"{view.prefix}_{self.name}_{window.key}p{shape.plane_bytes}{view.y.pitch_key}{form.key}{start}"
        title = (
            f"Depthwise convolution {window.kh}x{window.kw}: {shape.columns} pixels of {shape.channels} channels out."
        )
        kernel = columns.function(name, shape, form, view.y, title)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="int8_t",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", columns.weight_stream(weights, form), 4),), body)


KERNELS = (DepthwiseConv2DS8Columns(),)
