"""Convolution for RV32M: channels share words, so that one multiplication serves more than one channel."""

from __future__ import annotations

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import dots_rv32 as dots
from midge.kernels import render
from midge.kernels.base import NEAR_PITCH, Binding, Constant, Kernel, LayerCode, Layout, Offer, row_steps
from midge.kernels.conv2d.portable import conv2d_window, refuse_unless_dense
from midge.kernels.layouts import NATURAL, PLANES
from midge.kernels.packing_rv32 import Weights, as_bytes
from midge.kernels.requantize_rv32 import Requantization, requantized
from midge.kernels.view import TaskView
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core

_CHANNELS_BY_PIXELS = {1: 16, 2: 8}
"""Channels of a group of weights in bytes, by the pixels of a block; 4 where there are more."""
_MOST_PACKED_WEIGHTS = 16_384
"""Layers with more weights, which they use less often, are packed where the planner has flash to spend."""
_PACKED_BYTES = 2.5
"""Of a weight."""
_MACS_TO_SAVE_A_CYCLE = 1.1
"""Packed, a product takes 1.6 cycles; with weights in bytes, 2.5."""


class Conv2DS8Bytes(Kernel):
    """In assembly: up to four pixels by four channels; a weight is a byte, and no sum is too wide."""

    op = Conv2D
    most_pitch_bytes = NEAR_PITCH

    def __init__(self, variant: str, layout: Layout) -> None:
        self.name = f"conv2d_s8_bytes{variant}__rv32"
        self.layout = layout

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        if window.kh > dots.MOST_TAP_ROWS:
            return "too many rows of taps"
        if requantized(node, graph, self.layout, 0) is None:
            return "no proven requantisation"
        return None if self.weights(node, graph) is not None else "its sums are too wide"

    def weights(self, node: Node, graph: Graph) -> Weights | None:
        """The weights as the code reads them."""
        flat, form, window = _flat(node, graph), requantized(node, graph, self.layout, 0), conv2d_window(node, graph)
        assert form is not None
        group = _CHANNELS_BY_PIXELS.get(dots.shape_of(window).blocks(4)[0][0], 4)
        return as_bytes(flat, form.starts, window.kh, group)

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        return Binding(self, (window.reads(), None, None)[: len(node.inputs)], (self.layout,), steps)

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        kernel = next(kernel for kernel in PACKED_KERNELS if kernel.layout == self.layout)
        if kernel.refuse(node, graph, core) is not None:
            return ()
        extra_bytes = int((_PACKED_BYTES - 1) * _flat(node, graph).size)
        return (Offer(kernel, extra_bytes, graph.macs(node) / _MACS_TO_SAVE_A_CYCLE),)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        form = requantized(view.node, view.graph, self.layout, 0)
        weights = self.weights(view.node, view.graph)
        assert form is not None and weights is not None
        name = f"{view.prefix}_{self.name}_{window.key}{weights.key}{form.key}{plane_key(form, view)}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        kernel = dots.function(name, dots.shape_of(window), weights, form, view.y, title)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="int8_t",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", weights.stream(form), 4),), body)


class Conv2DS8Packed(Conv2DS8Bytes):
    """In assembly: up to four pixels by eight channels, or six by five."""

    def __init__(self, variant: str, layout: Layout, most_weights: float) -> None:
        super().__init__(variant, layout)
        self.name = f"conv2d_s8_packed{variant}__rv32"
        self.most_weights = most_weights

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is None and _flat(node, graph).size > self.most_weights:
            return "its weights would take too much flash"
        return reason

    def weights(self, node: Node, graph: Graph) -> Weights | None:
        form = requantized(node, graph, self.layout, 0)
        assert form is not None
        return dots.packed(_flat(node, graph), form.starts, dots.shape_of(conv2d_window(node, graph)))

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        return ()


def _flat(node: Node, graph: Graph) -> np.ndarray:
    """Weights [channels, taps]."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    return weights.reshape(weights.shape[0], -1)


def plane_key(form: Requantization, view: TaskView) -> str:
    """What the code depends on where results go to planes, or to pixels that lie apart."""
    return f"p{view.y.plane_bytes}" if form.layout.planes else view.y.pitch_key


_LAYOUTS = {"_to_planes": PLANES, "": NATURAL}
PACKED_KERNELS = tuple(Conv2DS8Packed(f"_all{variant}", layout, np.inf) for variant, layout in _LAYOUTS.items())
_SMALL = tuple(Conv2DS8Packed(variant, layout, _MOST_PACKED_WEIGHTS) for variant, layout in _LAYOUTS.items())
KERNELS = (*_SMALL, *(Conv2DS8Bytes(variant, layout) for variant, layout in _LAYOUTS.items()))
