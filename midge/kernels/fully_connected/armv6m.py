"""Fully connected layers for Armv6-M (Cortex-M0, M0+): eight outputs share an input; weights are bytes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import bytes_armv6m as bytes_
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads
from midge.kernels.dots_armv6m import Shape
from midge.kernels.fully_connected.portable import dense_steps, refuse_dense
from midge.kernels.layouts import EXCESS, NATURAL
from midge.kernels.quantized import channel_scaling
from midge.kernels.requantize_armv6m import EXCESS as EXCESS_OF_BYTES
from midge.kernels.requantize_armv6m import Requantization, requantization
from midge.kernels.staircase import accumulator_range
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core


class FullyConnectedS8Bytes(Kernel):
    """In assembly, one vector."""

    name: ClassVar[str] = "fully_connected_s8_bytes__armv6m"
    op = FullyConnected
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        reason = refuse_vectors(node, graph)
        if reason is not None:
            return reason
        return None if requantized(node, graph, self.layout) is not None else "no proven requantisation"

    def bind(self, node: Node, graph: Graph) -> Binding:
        reads = (Reads(EXCESS), None, None)[: len(node.inputs)]
        return Binding(self, reads, (self.layout,), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        form = requantized(view.node, view.graph, self.layout)
        weights = view.graph.constant(view.node.inputs[1])
        assert form is not None and weights is not None
        outputs, inputs = weights.shape
        packed = bytes_.ByteWeights(weights, start_values(view.node, view.graph))
        name = f"{view.prefix}_{self.name}_i{inputs}o{outputs}{form.key}{'s' if form.is_uniform else ''}"
        shape = Shape(1, inputs, 0, 1, outputs)
        title = f"Fully connected: {inputs} values in, {outputs} out."
        kernel = bytes_.function(name, shape, packed, form, view.y, title)
        body = f"    const uint8_t *const rows[1] = {{{view.x.whole()}}};\n"
        body += f"    {name}(rows, {view.y.whole()}, {view.constant('weights')});\n"
        return LayerCode((kernel,), (Constant("weights", packed.stream(form), 4),), body)


class FullyConnectedS8BytesToExcess(FullyConnectedS8Bytes):
    """The same; the next layer reads unsigned bytes."""

    name: ClassVar[str] = "fully_connected_s8_bytes_to_excess__armv6m"
    layout = EXCESS


def refuse_vectors(node: Node, graph: Graph) -> str | None:
    """Why a kernel of one vector of bytes can't compute the node."""
    reason = refuse_dense(node, graph, DType.INT8, DType.INT8)
    if reason is not None:
        return reason
    x, weights = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or "")
    return None if x.rows == 1 and x.elements == weights.shape[1] else "more than one row or vector"


def start_values(node: Node, graph: Graph) -> np.ndarray:
    """What sums of products with `q + 128` start at."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    return _scaling(node, graph).bias.astype(np.int64) - EXCESS_OF_BYTES * weights.sum(1, dtype=np.int64)


def _scaling(node: Node, graph: Graph):
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    return channel_scaling(node, graph, weights.sum(1, dtype=np.int64))


def requantized(node: Node, graph: Graph, layout: Layout) -> Requantization | None:
    """The proven requantisation of sums of products, biases included."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    scaling = _scaling(node, graph)
    lows, highs = accumulator_range(weights, scaling.bias, -128, 127)
    return requantization(scaling, lows, highs, layout)


KERNELS = (FullyConnectedS8BytesToExcess(), FullyConnectedS8Bytes())
