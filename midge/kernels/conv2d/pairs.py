"""Convolution for the DSP extension of rows that are one pixel of the result: an inner product for each, as in a fully
connected layer, by its code (`fully_connected/pairs.py`). Networks over time, and streaming ones, have such layers."""

from __future__ import annotations

from dataclasses import replace

from midge.ir.graph import Graph, Node
from midge.kernels import requantize_armv7em
from midge.kernels.assembly import core_loop_bytes, is_dual_issue
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, row_steps
from midge.kernels.conv2d.portable import conv2d_window, refuse_unless_dense
from midge.kernels.fully_connected import pairs
from midge.kernels.layouts import NATURAL, WIDE
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import TaskView
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


class Conv2DS8Pairs(Kernel):
    """In assembly, one row of taps to one pixel; inputs are bytes, widened in the loop."""

    op = Conv2D

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"conv2d_s8_pairs{variant}__armv7em"
        self.layout = layout

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        if window.kh != 1:
            return "more than one row of taps"
        if window.y.columns != 1:
            return "its rows are more than one pixel"
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        reason = pairs.refuse(weights.reshape(len(weights), -1))
        if reason is not None:
            return reason
        return None if self._requantized(node, graph) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        reads = replace(window.reads(over_bytes=-window.kw * window.x.channels % pairs.STEP_INPUTS), layout=NATURAL)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window, form = conv2d_window(view.node, view.graph), self._requantized(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None and form is not None
        flat = weights.reshape(len(weights), -1)
        loop_bytes = min(core_loop_bytes(view.core), view.most_loop_bytes)
        shape = pairs.Shape(flat.shape[1], len(flat), loop_bytes, is_dual_issue(view.core), widens=True)
        name = f"{view.prefix}_{self.name}_i{shape.inputs}o{shape.outputs}{form.key}{pairs.parameters_key(form)}"
        title = f"Convolution to rows of one pixel: {shape.inputs} values in, {shape.outputs} channels out."
        kernel = pairs.function(name, shape, form, title)
        x = view.x.at(*window.tap_row(0), before=window.padding.left)
        body = f"    {name}({x}, {view.y.at(1, 0)}, {view.constant('weights')});\n"
        return LayerCode((kernel,), (Constant("weights", pairs.weight_stream(flat, shape, form), 4),), body)

    def _requantized(self, node: Node, graph: Graph) -> Requantization | None:
        return requantize_armv7em.requantized(
            node, graph, self.layout, channel_axis=0, is_centred=False, fraction_bits=pairs.FRACTION_BITS
        )


PAIRS_KERNELS = (Conv2DS8Pairs("_to_wide", WIDE), Conv2DS8Pairs("", NATURAL))
