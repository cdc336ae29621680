"""Which values of a graph share one scale and zero point, and which have theirs from their operator."""

from __future__ import annotations

from collections.abc import Mapping

from midge.compress.ranges import Range
from midge.ir.graph import Graph, Node
from midge.ir.types import DType, Quantization
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.binary import Binary
from midge.ops.concatenation import Concatenation
from midge.ops.copy import Copy
from midge.ops.l2_normalization import L2Normalization
from midge.ops.logistic import Logistic
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.pad import Pad
from midge.ops.rearrange import Rearrange
from midge.ops.reduce import Reduce
from midge.ops.reshape import Reshape
from midge.ops.resize_bilinear import ResizeBilinear
from midge.ops.softmax import Softmax
from midge.ops.take import Take
from midge.ops.tanh import Tanh

KEEPING = (AveragePool2D, Binary, Concatenation, Copy, MaxPool2D, Pad, Rearrange, Reduce, Reshape,
            ResizeBilinear, Take)  # fmt: skip
"""Operators whose integer form has one scale and zero point on all sides."""
_UNIT, _SYMMETRIC = Quantization((1 / 256,), (-128,), None), Quantization((1 / 128,), (0,), None)
_WIDE = Quantization((1 / 32768,), (0,), None)


def fixed_quantization(node: Node, dtype: DType) -> Quantization | None:
    """What the results of some operators have in int8 or int16, whatever their range."""
    if dtype is DType.INT16:
        return _WIDE if isinstance(node.op, Softmax | Logistic | Tanh) else None
    if isinstance(node.op, Softmax | Logistic):
        return _UNIT
    return _SYMMETRIC if isinstance(node.op, Tanh | L2Normalization) else None


def groups(graph: Graph) -> dict[str, int]:
    """For each value that is no constant, the number of the group that shares its scale."""
    parent = {name: name for name, value in graph.values.items() if not value.is_constant}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, KEEPING):
            names = [name for name in (*node.inputs, *node.outputs) if name in parent]
            for name in names[1:]:
                parent[root(name)] = root(names[0])
    numbers: dict[str, int] = {}
    return {name: numbers.setdefault(root(name), len(numbers)) for name in parent}


def group_ranges(graph: Graph, found: Mapping[str, Range]) -> dict[str, Range]:
    """For each value the range of its group: what its members have that are made, not only moved."""
    number = groups(graph)
    makers = {name: node for node in graph.nodes for name in node.outputs}
    joined: dict[int, Range] = {}
    for name, range_ in found.items():
        if name not in number or isinstance(getattr(makers.get(name), "op", None), KEEPING):
            continue
        before = joined.get(number[name])
        joined[number[name]] = range_ if before is None else before.joined(range_)
    return {name: joined[group] for name, group in number.items() if group in joined}
