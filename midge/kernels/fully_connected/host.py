"""Fully connected layers for this computer: a product with one pixel for each vector of inputs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.kernels import vectors
from midge.kernels.base import LayerCode
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.fully_connected.portable import FullyConnectedF32, FullyConnectedS8, dense_pointers, dense_vectors
from midge.kernels.quantized import channel_scaling
from midge.kernels.vectors import Shape
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected


def product_shape(view: TaskView, weights: np.ndarray) -> Shape:
    """A fully connected layer as a product."""
    outputs, inputs = weights.shape
    return Shape(
        columns=dense_vectors(view, inputs), outputs=outputs, taps=1, runs=1, run=inputs, pixel_step=inputs,
        run_step=0,
    )  # fmt: skip


def title(shape: Shape) -> str:
    times = f", {shape.columns} times" if shape.columns > 1 else ""
    return f"Fully connected: {shape.run} values in, {shape.outputs} out{times}."


class FullyConnectedS8Host(FullyConnectedS8):
    """Sums of quads of products, for 8 blocks of 16 outputs at once."""

    name: ClassVar[str] = "fully_connected_s8_vectors__host"
    run_multiple: ClassVar[int] = vectors.QUAD

    def emit(self, view: TaskView) -> LayerCode:
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        scaling = channel_scaling(view.node, view.graph, weights.sum(1, dtype=np.int64))
        shape = product_shape(view, weights)
        functions = vectors.product_s8(self.name, title(shape), shape, scaling)
        constants = vectors.constants_s8(weights[:, np.newaxis], scaling)
        x, y = dense_pointers(view)
        body = vectors.body_s8(view, functions[-1], shape, scaling, [x], y)
        return LayerCode(functions, constants, body)


class FullyConnectedF32Host(FullyConnectedF32):
    """8 blocks of 16 outputs at once, each sum in the order of the portable kernel."""

    name: ClassVar[str] = "fully_connected_f32_vectors__host"

    def emit(self, view: TaskView) -> LayerCode:
        op, weights = view.node.op, view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(op, FullyConnected)
        shape = product_shape(view, weights)
        functions = vectors.product_f32(self.name, title(shape), shape, float_clamp(op.activation))
        constants = vectors.constants_f32(weights[:, np.newaxis], float_bias(view.node, view.graph, shape.outputs))
        x, y = dense_pointers(view)
        return LayerCode(functions, constants, vectors.body_f32(view, functions[-1], [x], y))


KERNELS = (FullyConnectedS8Host(), FullyConnectedF32Host())
