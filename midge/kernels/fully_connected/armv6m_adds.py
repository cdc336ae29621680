"""Fully connected layers for Armv6-M with the small multiplier: sums of subsets of the inputs, no multiplications."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import subset_sums_armv6m as sums
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads
from midge.kernels.digits_armv6m import DigitScaling, digit_scaling
from midge.kernels.dots_armv6m import Shape
from midge.kernels.fully_connected.armv6m import refuse_vectors, start_values
from midge.kernels.fully_connected.portable import dense_steps
from midge.kernels.layouts import EXCESS, NATURAL
from midge.kernels.quantized import channel_scaling
from midge.kernels.staircase import accumulator_range
from midge.kernels.subsets_armv6m import Subsets, subsets
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core


class FullyConnectedS8Subsets(Kernel):
    """In assembly, one vector."""

    name: ClassVar[str] = "fully_connected_s8_subsets__armv6m_adds"
    op = FullyConnected
    layout: ClassVar[Layout] = NATURAL
    """The layout that results are written in."""

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        reason = refuse_vectors(node, graph)
        if reason is not None:
            return reason
        return None if _scaling(node, graph) is not None else "no proven requantisation"

    def bind(self, node: Node, graph: Graph) -> Binding:
        reads = (Reads(EXCESS), None, None)[: len(node.inputs)]
        scratch_bytes = _layer(node, graph).scratch_bytes
        return Binding(self, reads, (self.layout,), dense_steps(node, graph), scratch_bytes, keeps_scratch=False)

    def emit(self, view: TaskView) -> LayerCode:
        layer = _layer(view.node, view.graph)
        outputs, inputs = layer.subsets.weights.shape
        name = f"{view.prefix}_{self.name}_i{inputs}o{outputs}{layer.key}"
        title = f"Fully connected: {inputs} values in, {outputs} out."
        kernel = sums.function(name, Shape(1, inputs, 0, 1, outputs), layer, self.layout, view.y, title)
        body = f"    const uint8_t *const rows[1] = {{{view.x.whole()}}};\n"
        body += f"    {name}(rows, {view.y.whole()}, {view.constant('weights')}, {view.scratch});\n"
        return LayerCode((kernel,), (Constant("weights", layer.stream(), 4),), body)


class FullyConnectedS8SubsetsToExcess(FullyConnectedS8Subsets):
    """The same; the next layer reads unsigned bytes."""

    name: ClassVar[str] = "fully_connected_s8_subsets_to_excess__armv6m_adds"
    layout = EXCESS


def _scaling(node: Node, graph: Graph) -> DigitScaling | None:
    """The proven requantisation of sums of products, biases included."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    scaling = channel_scaling(node, graph, weights.sum(1, dtype=np.int64))
    return digit_scaling(scaling, *accumulator_range(weights, scaling.bias, -128, 127))


def _layer(node: Node, graph: Graph) -> sums.SubsetLayer:
    scaling, weights = _scaling(node, graph), graph.constant(node.inputs[1])
    assert scaling is not None and weights is not None
    return sums.SubsetLayer(_subsets(weights.tobytes(), len(weights)), scaling, start_values(node, graph))


@lru_cache(maxsize=64)
def _subsets(weights: bytes, outputs: int) -> Subsets:
    """Found once, however often the planner asks."""
    return subsets(np.frombuffer(weights, np.int8).reshape(outputs, -1), is_paired=False)


KERNELS = (FullyConnectedS8SubsetsToExcess(), FullyConnectedS8Subsets())
