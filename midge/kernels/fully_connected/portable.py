"""Fully connected layers in plain C99: int8, int16 and float32."""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import offset_weights, render
from midge.kernels.base import Binding, Constant, Function, Kernel, LayerCode, Layout, Reads, Step, row_steps
from midge.kernels.floating import float_bias, float_clamp
from midge.kernels.quantized import channel_scaling
from midge.kernels.quantized_s16 import Scaling, wide_scaling
from midge.kernels.view import TaskView, c_element
from midge.ops.fully_connected import FullyConnected
from midge.targets.records import Core


def is_by_rows(node: Node, graph: Graph) -> bool:
    """True where each row of x makes a row of the result; else x is one matrix, and the result one row."""
    return graph.type(node.outputs[0]).rows > 1


def dense_steps(node: Node, graph: Graph) -> tuple[Step, ...]:
    """A step for each row of the result; or one for all rows of x (side by side, as one matrix)."""
    x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
    if is_by_rows(node, graph):
        return row_steps(graph.input_types(node), y, {0: (1, 0, 1)})
    operands = tuple((0, x.rows - 1) if index == 0 else None for index in range(len(node.inputs)))
    return (Step(operands, y.rows),)


def dense_reads(node: Node, graph: Graph, dtype: DType, over_bytes: int) -> tuple[Reads | None, ...]:
    """How values of x, weights and bias are read."""
    flat = graph.type(node.inputs[0] or "").rows > 1 and not is_by_rows(node, graph)
    x = Reads(Layout(dtype), over_bytes=over_bytes, flat=flat)
    return (x, None, None)[: len(node.inputs)]


def dense_pointers(view: TaskView) -> tuple[str, str]:
    """C expressions of what a step reads of x, and of what it makes of the result."""
    if is_by_rows(view.node, view.graph):
        return view.x.at(1, 0), view.y.at(1, 0)
    return view.x.whole(), view.y.whole()


def dense_vectors(view: TaskView, inputs: int) -> int:
    """How many vectors of so many inputs a step multiplies."""
    x = view.x.type
    return (x.row_elements if is_by_rows(view.node, view.graph) else x.elements) // inputs


def refuse_dense(node: Node, graph: Graph, dtype: DType, weights: DType) -> str | None:
    """Why a kernel for values of `dtype`, and such weights, can't compute the node."""
    types = (graph.type(node.inputs[0] or ""), graph.type(node.outputs[0]))
    if any(type_.dtype is not dtype for type_ in types):
        return f"not {dtype.value}"
    return offset_weights.refuse_weights(node, graph, weights)


class FullyConnectedS8(Kernel):
    """y = W x for each of the matrix's rows, on integers."""

    name: ClassVar[str] = "fully_connected_s8_direct__portable"
    op = FullyConnected
    template: ClassVar[str] = "fully_connected/portable.c.j2"
    dtype: ClassVar[DType] = DType.INT8
    weights: ClassVar[DType] = DType.INT8
    run_multiple: ClassVar[int] = 1

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return refuse_dense(node, graph, self.dtype, self.weights)

    def bind(self, node: Node, graph: Graph) -> Binding:
        reads = dense_reads(node, graph, self.dtype, self.run_multiple - 1)
        return Binding(self, reads, (Layout(self.dtype),), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        weights = view.graph.constant(view.node.inputs[1])
        assert weights is not None
        outputs, inputs = weights.shape
        scaling = self.scaling(view.node, view.graph, weights)
        vectors = dense_vectors(view, inputs)
        stored, offset = offset_weights.as_bytes(weights)
        packed = np.pad(stored, ((0, 0), (0, -inputs % self.run_multiple)), constant_values=-offset)
        key = f"{scaling.key}{offset_weights.key(offset)}"
        kernel = render.function(
            self.template, f"{self.name}_i{inputs}o{outputs}v{vectors}{key}",
            inputs=inputs, padded_inputs=packed.shape[1], outputs=outputs, vectors=vectors, scaling=scaling,
            element=c_element(self.dtype), weight=offset_weights.read("w[i]", offset),
            widened=functools.partial(offset_weights.widened, offset=offset),
        )  # fmt: skip
        x, y = dense_pointers(view)
        arguments = "".join(f", {view.constant(role)}" for role in ("weights", *scaling.roles))
        return LayerCode(
            (*self.helpers(scaling), kernel),
            (Constant("weights", packed, self.run_multiple), *scaling.constants),
            f"    {kernel.name}({x}, {y}{arguments});\n",
        )

    def scaling(self, node: Node, graph: Graph, weights: np.ndarray) -> Scaling:
        """From accumulators to results."""
        return channel_scaling(node, graph, weights.sum(1, dtype=np.int64))

    def helpers(self, scaling: Scaling) -> tuple[Function, ...]:
        return scaling.helpers


class FullyConnectedS8Offset(FullyConnectedS8):
    """y = W x for each of the matrix's rows, x of int8; weights of 16 bits, stored as bytes."""

    name: ClassVar[str] = "fully_connected_s8_offset__portable"
    weights = DType.INT16


class FullyConnectedS16(FullyConnectedS8):
    """y = W x for each of the matrix's rows, x of int16; accumulators of 64 bits where 32 might not do."""

    name: ClassVar[str] = "fully_connected_s16_direct__portable"
    dtype = DType.INT16

    def scaling(self, node: Node, graph: Graph, weights: np.ndarray) -> Scaling:
        del weights
        assert isinstance(node.op, FullyConnected)
        return wide_scaling(node, graph, 0, node.op.rounding)


class FullyConnectedF32(Kernel):
    """y = W x for each of the matrix's rows, on floats."""

    name: ClassVar[str] = "fully_connected_f32_direct__portable"
    op = FullyConnected

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return refuse_dense(node, graph, DType.FLOAT32, DType.FLOAT32)

    def bind(self, node: Node, graph: Graph) -> Binding:
        reads = dense_reads(node, graph, DType.FLOAT32, 0)
        return Binding(self, reads, (Layout(DType.FLOAT32),), dense_steps(node, graph))

    def emit(self, view: TaskView) -> LayerCode:
        op, weights = view.node.op, view.graph.constant(view.node.inputs[1])
        assert weights is not None and isinstance(op, FullyConnected)
        outputs, inputs = weights.shape
        vectors = dense_vectors(view, inputs)
        clamp = float_clamp(op.activation)
        kernel = render.function(
            "fully_connected/portable_f32.c.j2", f"{self.name}_i{inputs}o{outputs}v{vectors}{clamp.key}",
            inputs=inputs, outputs=outputs, vectors=vectors, clamp=clamp,
        )  # fmt: skip
        x, y = dense_pointers(view)
        arguments = f"{x}, {y}, {view.constant('weights')}, {view.constant('bias')}"
        return LayerCode(
            (*clamp.helpers, kernel),
            (Constant("weights", weights), Constant("bias", float_bias(view.node, view.graph, outputs))),
            f"    {kernel.name}({arguments});\n",
        )


KERNELS = (FullyConnectedS8(), FullyConnectedS8Offset(), FullyConnectedS16(), FullyConnectedF32())
