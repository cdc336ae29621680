"""Fully connected layers with Helium (Cortex-M55): eight outputs share each sixteen inputs."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import dots_mve
from midge.kernels.base import Binding, Constant, Kernel, LayerCode
from midge.kernels.dots_mve import VECTOR, Shape
from midge.kernels.fully_connected.portable import (
    FullyConnectedS8,
    dense_pointers,
    dense_reads,
    dense_steps,
    dense_vectors,
)
from midge.kernels.layouts import NATURAL
from midge.kernels.requantize_mve import requantized
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core


class FullyConnectedS8Dots(Kernel):
    """In assembly: as a convolution of one pixel for each vector."""

    name: ClassVar[str] = "fully_connected_s8_dots__mve"
    op = FullyConnected

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = FullyConnectedS8().refuse(node, graph, core)
        if reason is not None:
            return reason
        return None if requantized(node, graph, channel_axis=0) is not None else "no requantisation in 32 bits"

    def bind(self, node: Node, graph: Graph) -> Binding:
        reads = dense_reads(node, graph, DType.INT8, -graph.type(node.inputs[1] or "").shape[1] % VECTOR)
        return Binding(self, reads, (NATURAL,), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        weights = view.graph.constant(view.node.inputs[1])
        form = requantized(view.node, view.graph, channel_axis=0)
        assert weights is not None and form is not None
        outputs, inputs = weights.shape
        shape = Shape(1, (0,), inputs, inputs, dense_vectors(view, inputs), outputs)
        name = f"{view.prefix}_{self.name}_{shape.key}_{form.key}"
        title = f"Fully connected: {shape.columns} times {inputs} values in, {outputs} out."
        kernel = dots_mve.function(name, shape, form, outputs, 1, title)
        words = dots_mve.stream(weights[:, None, None], shape, form, outputs, 1)
        x, y = dense_pointers(view)
        body = f"    const int8_t *const rows[1] = {{{x}}};\n    {name}(rows, {y}, {view.constant('weights')});\n"
        return LayerCode((kernel,), (Constant("weights", words, 4),), body)


KERNELS = (FullyConnectedS8Dots(),)
