"""Read a part of a concatenation where it comes from.

    %y = concatenation(%a, %b, %c)
    %z = rearrange %y (elements of %c only)          →          %z = rearrange %c

The last step of a recurrent layer's sequence is such a part: where nobody reads the others, they are not put together.
A part that is a whole operand in its order becomes a reshape, which costs nothing. Keeps exact bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ops.concatenation import Concatenation
from midge.ops.rearrange import Rearrange, rearrangement
from midge.ops.reshape import Reshape
from midge.passes.options import PassOptions
from midge.targets.records import Board


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """The graph with each part of a concatenation read from its operand, where it is in one."""
    del board
    builder = GraphBuilder.of(graph)
    changed = False
    for index, node in enumerate(graph.nodes):
        source = _concatenation(graph, node)
        if source is None:
            continue
        found = part(graph, node, source)
        if isinstance(found, str):
            options.refuse(f"read_part: {node.name} reads the whole of {source.name}, {found}")
            continue
        builder.nodes[index], changed = found, True
    return builder.build() if changed else graph


def _concatenation(graph: Graph, node: Node) -> Node | None:
    """The concatenation that a `rearrange` reads, through reshapes."""
    if not isinstance(node.op, Rearrange):
        return None
    maker = graph.producer(node.inputs[0] or "")
    while maker is not None and isinstance(maker.op, Reshape):
        maker = graph.producer(maker.inputs[0] or "")
    return maker if maker is not None and isinstance(maker.op, Concatenation) else None


def part(graph: Graph, node: Node, source: Node) -> Node | str:
    """The node that reads one operand of the concatenation instead; or the reason why there is none."""
    assert isinstance(node.op, Rearrange) and isinstance(source.op, Concatenation)
    types = graph.input_types(source)
    result = graph.type(source.outputs[0])
    shapes = [type_.shape for type_ in types if type_ is not None]
    owners = np.concatenate([np.full(shape, k) for k, shape in enumerate(shapes)], source.op.axis).reshape(-1)
    places = np.concatenate([np.arange(np.prod(shape)).reshape(shape) for shape in shapes], source.op.axis)
    positions = node.op.positions()
    owner = int(owners[positions[0]])
    if np.any(owners[positions] != owner):
        return "of several operands"
    name, type_ = source.inputs[owner], types[owner]
    assert name is not None and type_ is not None
    if graph.values[name].is_constant or (type_.dtype, type_.quantization) != (result.dtype, result.quantization):
        return "and the operand is a constant, or has another type"
    wanted = places.reshape(-1)[positions].reshape(node.op.shape)
    if np.array_equal(wanted.reshape(-1), np.arange(type_.elements)):
        return replace(node, op=Reshape(node.op.shape), inputs=(name,))
    op = rearrangement(wanted)
    return "in an order of many loops" if op is None else replace(node, op=op, inputs=(name,))
