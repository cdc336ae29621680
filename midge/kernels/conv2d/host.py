"""Convolution for this computer: the portable kernels' numbers in blocks of pixels by channels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import vectors
from midge.kernels.base import LayerCode
from midge.kernels.conv2d.portable import Conv2DF32, Conv2DS8, conv2d_window, pack_runs
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import channel_scaling
from midge.kernels.vectors import Shape
from midge.kernels.view import TaskView
from midge.kernels.window import Window
from midge.ops.conv2d import Conv2D
from midge.targets.records import Core


def refuse_groups(node: Node, graph: Graph) -> str | None:
    """Why the channels out can't share their inputs."""
    weights = graph.type(node.inputs[1] or "")
    return "it has groups" if weights.shape[3] != graph.type(node.inputs[0] or "").channels else None


def product_shape(window: Window) -> Shape:
    """A convolution as a product: taps side by side are one run."""
    c = window.x.channels
    runs = 1 if window.dilation_w == 1 else window.kw
    return Shape(
        columns=window.y.columns, outputs=window.y.channels, taps=window.kh * runs, runs=runs,
        run=window.kw * c // runs, pixel_step=window.stride_w * c, run_step=window.dilation_w * c,
    )  # fmt: skip


def title(window: Window) -> str:
    return (f"Convolution {window.kh}x{window.kw}: {window.x.channels} channels in, {window.y.columns} pixels of "
            f"{window.y.channels} channels out.")  # fmt: skip


def tap_runs(weights: np.ndarray, shape: Shape) -> np.ndarray:
    """Weights [O, KH, KW, I] as [O, taps, run]."""
    return pack_runs(weights, shape.runs, 1).reshape(shape.outputs, shape.taps, shape.run)


def tap_rows(view: TaskView, window: Window) -> list[str]:
    return [view.x.at(*window.tap_row(tap), before=window.padding.left) for tap in range(window.kh)]


class Conv2DS8Host(Conv2DS8):
    """Sums of quads of products, for up to 8 pixels by 16 channels at once."""

    name: ClassVar[str] = "conv2d_s8_vectors__host"
    reads_pitched = False
    most_pitch_bytes = 0
    run_multiple: ClassVar[int] = vectors.QUAD

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        return super().refuse(node, graph, core) or refuse_groups(node, graph)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        scaling = channel_scaling(view.node, view.graph, weights.reshape(weights.shape[0], -1).sum(1, dtype=np.int64))
        shape = product_shape(window)
        functions = vectors.product_s8(self.name, title(window), shape, scaling)
        constants = vectors.constants_s8(tap_runs(weights, shape), scaling)
        body = vectors.body_s8(view, functions[-1], shape, scaling, tap_rows(view, window), view.y.at(1, 0))
        return LayerCode(functions, constants, body)


class Conv2DF32Host(Conv2DF32):
    """Up to 8 pixels by 16 channels at once, each sum in the order of the portable kernel."""

    name: ClassVar[str] = "conv2d_f32_vectors__host"
    reads_pitched = False
    most_pitch_bytes = 0

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        return super().refuse(node, graph, core) or refuse_groups(node, graph)

    def emit(self, view: TaskView) -> LayerCode:
        window = conv2d_window(view.node, view.graph)
        op, weights = view.node.op, view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(op, Conv2D)
        shape = product_shape(window)
        functions = vectors.product_f32(self.name, title(window), shape, float_clamp(op.activation))
        bias = float_bias(view.node, view.graph, window.y.channels)
        constants = vectors.constants_f32(tap_runs(weights, shape), bias)
        body = vectors.body_f32(view, functions[-1], tap_rows(view, window), view.y.at(1, 0))
        return LayerCode(functions, constants, body)


KERNELS = (Conv2DS8Host(), Conv2DF32Host())
