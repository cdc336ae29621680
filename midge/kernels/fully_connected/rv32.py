"""Fully connected layers for RV32M: sixteen outputs share an input; weights are bytes."""

from __future__ import annotations

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import dots_rv32 as dots
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Offer, Reads
from midge.kernels.fully_connected.portable import dense_steps, refuse_dense
from midge.kernels.layouts import NATURAL
from midge.kernels.packing_rv32 import Weights, as_bytes
from midge.kernels.requantize_rv32 import requantized
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core

_GROUP = 16
_EXTRA_BYTES = 1.5
"""For a weight, where they are packed."""


class FullyConnectedS8Bytes(Kernel):
    """In assembly, one vector."""

    name = "fully_connected_s8_bytes__rv32"
    op = FullyConnected

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        reason = refuse_dense(node, graph, DType.INT8, DType.INT8)
        if reason is not None:
            return reason
        x, weights = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or "")
        if x.rows > 1 or x.elements != weights.shape[1]:
            return "more than one row or vector"
        if requantized(node, graph, NATURAL, 0) is None:
            return "no proven requantisation"
        return None if self.weights(node, graph) is not None else "its sums are too wide"

    def weights(self, node: Node, graph: Graph) -> Weights | None:
        """The weights as the code reads them."""
        flat, starts = _flat_and_starts(node, graph)
        return as_bytes(flat, starts, 1, _GROUP)

    def bind(self, node: Node, graph: Graph) -> Binding:
        reads = (Reads(NATURAL), None, None)[: len(node.inputs)]
        return Binding(self, reads, (NATURAL,), dense_steps(node, graph))

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        if PACKED.refuse(node, graph, core) is not None:
            return ()
        macs = graph.macs(node)
        return (Offer(PACKED, int(_EXTRA_BYTES * macs), float(macs)),)

    def emit(self, view: TaskView) -> LayerCode:
        form, weights = requantized(view.node, view.graph, NATURAL, 0), self.weights(view.node, view.graph)
        assert form is not None and weights is not None
        outputs, inputs = weights.weights.shape
        name = f"{view.prefix}_{self.name}_i{inputs}o{outputs}{weights.key}{form.key}"
        title = f"Fully connected: {inputs} values in, {outputs} out."
        kernel = dots.function(name, dots.Shape(1, inputs, 0, 1), weights, form, view.y, title)
        body = f"    const int8_t *const rows[1] = {{{view.x.whole()}}};\n"
        body += f"    {name}(rows, {view.y.whole()}, {view.constant('weights')});\n"
        return LayerCode((kernel,), (Constant("weights", weights.stream(form), 4),), body)


class FullyConnectedS8Packed(FullyConnectedS8Bytes):
    """Eight outputs in five words: faster, for more flash. The planner takes it where that is worth it."""

    name = "fully_connected_s8_packed__rv32"

    def weights(self, node: Node, graph: Graph) -> Weights | None:
        flat, starts = _flat_and_starts(node, graph)
        return dots.packed(flat, starts, dots.Shape(1, flat.shape[1], 0, 1))

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        return ()


def _flat_and_starts(node: Node, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Weights [outputs, inputs], and what their sums start at."""
    weights, form = graph.constant(node.inputs[1]), requantized(node, graph, NATURAL, 0)
    assert weights is not None and form is not None
    return weights, form.starts


PACKED = FullyConnectedS8Packed()
KERNELS = (FullyConnectedS8Bytes(),)
