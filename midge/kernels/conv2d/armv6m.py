"""Convolution for Armv6-M (Cortex-M0, M0+): channels share words, so that one multiplication serves more than one."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import bytes_armv6m as bytes_
from midge.kernels import dots_armv6m as dots
from midge.kernels import render
from midge.kernels.base import NEAR_PITCH, Binding, Constant, Function, Kernel, LayerCode, Layout, row_steps
from midge.kernels.conv2d.portable import conv2d_window, refuse_unless_dense
from midge.kernels.layouts import EXCESS, EXCESS_PLANES, NATURAL
from midge.kernels.quantized import channel_scaling
from midge.kernels.requantize_armv6m import EXCESS as EXCESS_OF_BYTES
from midge.kernels.requantize_armv6m import Requantization, requantization
from midge.kernels.staircase import accumulator_range
from midge.kernels.view import TaskView
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core

_MOST_PACKED_WEIGHTS = 16_384
"""Packed weights take 2.5 bytes each: layers with more weights, which they use less often, keep one byte for each."""


class Conv2DS8Packed(Kernel):
    """In assembly: one pixel by eight channels in five words."""

    name: ClassVar[str] = "conv2d_s8_packed__armv6m"
    op = Conv2D
    most_pitch_bytes = NEAR_PITCH
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = refuse_unless_dense(node, graph, core)
        if reason is not None:
            return reason
        window = conv2d_window(node, graph)
        if window.kh > dots.MOST_TAP_ROWS:
            return "too many rows of taps"
        if requantized(node, graph, self.layout) is None:
            return "no proven requantisation"
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        return self.refuse_weights(node, graph, weights)

    def refuse_weights(self, node: Node, graph: Graph, weights: np.ndarray) -> str | None:
        """Why this kernel does not take the weights."""
        if weights.size > _MOST_PACKED_WEIGHTS:
            return "its weights would take too much flash"
        return None if packed(node, graph) is not None else "its sums are too wide"

    def bind(self, node: Node, graph: Graph) -> Binding:
        window = conv2d_window(node, graph)
        steps = row_steps(graph.input_types(node), window.y, {0: window.rows})
        reads = replace(window.reads(), layout=EXCESS)
        return Binding(self, (reads, None, None)[: len(node.inputs)], (self.layout,), steps)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        form = requantized(view.node, view.graph, self.layout)
        assert form is not None
        plane = f"p{view.y.plane_bytes}" if self.layout.planes else view.y.pitch_key
        name = f"{view.prefix}_{self.name}_{window.key}{self.weights_key(view)}{form.key}{plane}"
        title = f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.channels} out."
        kernel, stream = self.write(view, name, dots.shape_of(window), form, title)
        body = render.render("conv2d/layer.c.j2", view=view, window=window, call=name, element="uint8_t",
                             constants=["weights"])  # fmt: skip
        return LayerCode((kernel,), (Constant("weights", stream, 4),), body)

    def weights_key(self, view: TaskView) -> str:
        """What the code depends on but the window and the requantisation."""
        weights = packed(view.node, view.graph)
        assert weights is not None
        return weights.key

    def write(self, view: TaskView, name: str, shape: dots.Shape, form: Requantization, title: str
              ) -> tuple[Function, np.ndarray]:  # fmt: skip
        """The function and the stream that it reads."""
        weights = packed(view.node, view.graph)
        assert weights is not None
        return dots.function(name, shape, weights, form, view.y, title), weights.stream(form)


class Conv2DS8PackedToExcess(Conv2DS8Packed):
    """The same; the next layer reads unsigned bytes."""

    name: ClassVar[str] = "conv2d_s8_packed_to_excess__armv6m"
    layout = EXCESS


class Conv2DS8PackedToPlanes(Conv2DS8Packed):
    """The same; the next layer is a depthwise convolution."""

    name: ClassVar[str] = "conv2d_s8_packed_to_planes__armv6m"
    layout = EXCESS_PLANES


class Conv2DS8Bytes(Conv2DS8Packed):
    """In assembly: one pixel by eight channels in two words; as small as weights can be, and no sum is too wide."""

    name: ClassVar[str] = "conv2d_s8_bytes__armv6m"

    def refuse_weights(self, node: Node, graph: Graph, weights: np.ndarray) -> str | None:
        return None

    def weights_key(self, view: TaskView) -> str:
        form = requantized(view.node, view.graph, self.layout)
        return "s" if form is not None and form.is_uniform else ""

    def write(self, view: TaskView, name: str, shape: dots.Shape, form: Requantization, title: str
              ) -> tuple[Function, np.ndarray]:  # fmt: skip
        weights = bytes_.ByteWeights(flat_weights(view.node, view.graph), start_values(view.node, view.graph))
        return bytes_.function(name, shape, weights, form, view.y, title), weights.stream(form)


class Conv2DS8BytesToExcess(Conv2DS8Bytes):
    """The same; the next layer reads unsigned bytes."""

    name: ClassVar[str] = "conv2d_s8_bytes_to_excess__armv6m"
    layout = EXCESS


class Conv2DS8BytesToPlanes(Conv2DS8Bytes):
    """The same; the next layer is a depthwise convolution."""

    name: ClassVar[str] = "conv2d_s8_bytes_to_planes__armv6m"
    layout = EXCESS_PLANES


def flat_weights(node: Node, graph: Graph) -> np.ndarray:
    """Weights [channels, taps]."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    return weights.reshape(weights.shape[0], -1)


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The proven requantisation of sums of products, biases included."""
    flat = flat_weights(node, graph)
    scaling = channel_scaling(node, graph, flat.sum(1, dtype=np.int64))
    lows, highs = accumulator_range(flat, scaling.bias, -128, 127)
    return requantization(scaling, lows, highs, layout)


def start_values(node: Node, graph: Graph) -> np.ndarray:
    """What sums of products with `q + 128` start at."""
    sums = flat_weights(node, graph).sum(1, dtype=np.int64)
    return channel_scaling(node, graph, sums).bias.astype(np.int64) - EXCESS_OF_BYTES * sums


def packed(node: Node, graph: Graph) -> dots.Packed | None:
    """The weights in shared words."""
    flat, starts = flat_weights(node, graph), start_values(node, graph)
    return _packed(flat.tobytes(), starts.tobytes(), starts.size)


@lru_cache(maxsize=64)
def _packed(weights: bytes, starts: bytes, channels: int) -> dots.Packed | None:
    """Found once, however often the planner asks."""
    flat = np.frombuffer(weights, np.int8).reshape(channels, -1).astype(np.int64)
    return dots.pack(flat, np.frombuffer(starts, np.int64))


KERNELS = (
    Conv2DS8PackedToPlanes(), Conv2DS8PackedToExcess(), Conv2DS8Packed(),
    Conv2DS8BytesToPlanes(), Conv2DS8BytesToExcess(), Conv2DS8Bytes(),
)  # fmt: skip
