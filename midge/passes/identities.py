"""Remove layers that compute nothing: whose result is their operand, bit by bit, whatever the operand is.

    %a = map %x
    %b = mul %a [1.0]          →          %a = map %x
    %y = tanh %b                          %y = tanh %a

Such layers come from exporters (scales of 1, pads of nothing, transposes that move nothing) and from other passes.
Keeps exact bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.types import DType
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation
from midge.ops.binary import Binary
from midge.ops.binary import Function as BinaryFunction
from midge.ops.concatenation import Concatenation
from midge.ops.leaky_relu import LeakyRelu
from midge.ops.map import Map
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.rearrange import Rearrange
from midge.ops.relu import Relu
from midge.ops.sub import Sub
from midge.passes.options import PassOptions
from midge.targets.records import Board

_ELEMENTWISE = (Add, Binary, LeakyRelu, Map, Mul, Quantize, Relu, Sub)
"""Operators whose result at a place depends on their operands there, and on nothing else."""


def unchanged(graph: Graph, node: Node) -> str | None:
    """The operand that the node's result equals for every input; None where there is none or it isn't known."""
    varying = [name for name in node.inputs if name is not None and not graph.values[name].is_constant]
    if len(varying) != 1 or len(node.outputs) != 1 or graph.type(varying[0]) != graph.type(node.outputs[0]):
        return None
    if isinstance(node.op, _ELEMENTWISE):
        is_unchanged = _maps_each_byte_to_itself if graph.type(varying[0]).dtype is DType.INT8 else _is_neutral_float
        return varying[0] if is_unchanged(graph, node) else None
    return varying[0] if _moves_nothing(node) else None


def _maps_each_byte_to_itself(graph: Graph, node: Node) -> bool:
    """True where every element keeps each of its 256 values, by trying them all."""
    inputs, outputs = graph.input_types(node), graph.output_types(node)
    for byte in (-128, 127, *range(-127, 127)):
        full = np.full(outputs[0].shape, byte, np.int8)
        arrays = [full if data is None else data for data in map(graph.constant, node.inputs)]
        if not np.array_equal(node.op.evaluate(arrays, inputs, outputs)[0], full):
            return False
    return True


def _is_neutral_float(graph: Graph, node: Node) -> bool:
    """True for float32 `x * 1`, `1 * x`, `x / 1`, `x - 0`, `x + -0` and `-0 + x` without activation.

    `x + 0` is not one of them: it makes 0 of -0.
    """
    op = node.op
    if getattr(op, "activation", None) is not Activation.NONE or graph.type(node.outputs[0]).dtype is not DType.FLOAT32:
        return False
    is_first = graph.constant(node.inputs[0]) is None
    constant = graph.constant(node.inputs[1 if is_first else 0])
    if constant is None:
        return False
    if isinstance(op, Mul) or (isinstance(op, Binary) and op.function is BinaryFunction.DIV and is_first):
        return bool(np.all(constant == 1))
    if isinstance(op, Sub) and is_first:
        return bool(np.all((constant == 0) & ~np.signbit(constant)))
    return isinstance(op, Add) and bool(np.all((constant == 0) & np.signbit(constant)))


def _moves_nothing(node: Node) -> bool:
    """True for a pad by nothing, a pool of single values, a concatenation of one operand, an order that stays."""
    op = node.op
    if isinstance(op, Pad):
        return not any(map(any, op.paddings))
    if isinstance(op, AveragePool2D | MaxPool2D):
        sizes = (op.kernel_h, op.kernel_w, op.stride_h, op.stride_w)
        return sizes == (1, 1, 1, 1) and op.activation is Activation.NONE
    if isinstance(op, Concatenation):
        return len(node.inputs) == 1 and op.activation is Activation.NONE
    return isinstance(op, Rearrange) and bool(np.all(np.diff(op.positions(), prepend=-1) == 1))


def refuse(graph: Graph, node: Node, source: str) -> str | None:
    """None where readers of the node's result can read `source`, its equal, instead; else the reason why not."""
    if node.outputs[0] not in graph.sinks:
        return None
    if source in graph.sources or source in graph.sinks:
        return f"{node.outputs[0]} leaves the network, and {source} enters or leaves it too"
    return None


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """The graph without each layer that computes nothing."""
    del board
    position = 0
    while position < len(graph.nodes):
        node = graph.nodes[position]
        source = unchanged(graph, node)
        reason = None if source is None else refuse(graph, node, source)
        if source is not None and reason is None:
            graph = _without(graph, node, source)
            continue
        if reason is not None:
            options.refuse(f"identities: {node.name} stays, {reason}")
        position += 1
    return graph


def _without(graph: Graph, node: Node, source: str) -> Graph:
    """One value in place of two; the one that leaves the network keeps its name."""
    result = node.outputs[0]
    gone, kept = (source, result) if result in graph.sinks else (result, source)

    def renamed(names: tuple[str | None, ...]) -> tuple[str | None, ...]:
        return tuple(kept if name == gone else name for name in names)

    builder = GraphBuilder.of(graph)
    builder.nodes = [
        replace(
            other,
            inputs=renamed(other.inputs),
            outputs=tuple(kept if name == gone else name for name in other.outputs),
        )
        for other in graph.nodes
        if other is not node
    ]
    del builder.values[gone]
    return builder.build()
