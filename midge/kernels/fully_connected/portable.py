"""Fully connected layers in plain C99: int8 and float32."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import ChannelScaling, channel_scaling
from midge.kernels.view import TaskView
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core


def dense_steps(node: Node, graph: Graph) -> tuple[Step, ...]:
    """One step: all rows of x (side by side, as one matrix), all rows of the result."""
    x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
    operands = tuple((0, x.rows - 1) if index == 0 else None for index in range(len(node.inputs)))
    return (Step(operands, y.rows),)


def refuse_dense(node: Node, graph: Graph, dtype: DType) -> str | None:
    """Why a kernel for weights and values of `dtype` can't compute the node."""
    types = (graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0]))
    if any(type_.dtype is not dtype for type_ in types):
        return f"not {dtype.value}"
    if graph.constant(node.inputs[1]) is None:
        return "the weights are not constant"
    return None


class FullyConnectedS8(Kernel):
    """y = W x for each of the matrix's rows; 32-bit accumulators."""

    name: ClassVar[str] = "fully_connected_s8_direct__portable"
    op = FullyConnected
    template: ClassVar[str] = "fully_connected/portable_s8.c.j2"
    run_multiple: ClassVar[int] = 1

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return refuse_dense(node, graph, DType.INT8)

    def bind(self, node: Node, graph: Graph) -> Binding:
        x = Reads(Layout(DType.INT8), over_bytes=self.run_multiple - 1, flat=graph.type(node.inputs[0] or "").rows > 1)
        return Binding(self, (x, None, None)[: len(node.inputs)], (Layout(DType.INT8),), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        outputs, inputs = weights.shape
        scaling = channel_scaling(view.node, view.graph, weights.sum(1, dtype=np.int64))
        vectors = view.x.type.elements // inputs
        packed = np.pad(weights, ((0, 0), (0, -inputs % self.run_multiple)))
        kernel = render.function(
            self.template, f"{self.name}_i{inputs}o{outputs}v{vectors}{scaling.key}",
            inputs=inputs, padded_inputs=packed.shape[1], outputs=outputs, vectors=vectors, scaling=scaling,
        )  # fmt: skip
        arguments = "".join(f", {view.constant(role)}" for role in ("weights", *scaling.roles))
        return LayerCode(
            (*self.helpers(scaling), kernel),
            (Constant("weights", packed, self.run_multiple), *scaling.constants),
            f"    {kernel.name}({view.x.whole()}, {view.y.whole()}{arguments});\n",
        )

    def helpers(self, scaling: ChannelScaling) -> tuple[Function, ...]:
        return (render.scale_helper(scaling.rounding), render.helper("clamp"))


class FullyConnectedF32(Kernel):
    """y = W x for each of the matrix's rows, on floats."""

    name: ClassVar[str] = "fully_connected_f32_direct__portable"
    op = FullyConnected

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return refuse_dense(node, graph, DType.FLOAT32)

    def bind(self, node: Node, graph: Graph) -> Binding:
        x = Reads(Layout(DType.FLOAT32), flat=graph.type(node.inputs[0] or "").rows > 1)
        return Binding(self, (x, None, None)[: len(node.inputs)], (Layout(DType.FLOAT32),), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        op, weights = view.node.op, view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(op, FullyConnected)
        outputs, inputs = weights.shape
        vectors = view.x.type.elements // inputs
        clamp = float_clamp(op.activation)
        kernel = render.function(
            "fully_connected/portable_f32.c.j2", f"{self.name}_i{inputs}o{outputs}v{vectors}{clamp.key}",
            inputs=inputs, outputs=outputs, vectors=vectors, clamp=clamp,
        )  # fmt: skip
        arguments = f"{view.x.whole()}, {view.y.whole()}, {view.constant('weights')}, {view.constant('bias')}"
        return LayerCode(
            (*clamp.helpers, kernel),
            (Constant("weights", weights), Constant("bias", float_bias(view.node, view.graph, outputs))),
            f"    {kernel.name}({arguments});\n",
        )


KERNELS = (FullyConnectedS8(), FullyConnectedF32())
