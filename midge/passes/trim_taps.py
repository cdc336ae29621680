"""Make kernels smaller by outer taps that never add anything.

    %y = conv2d %x  3x3, padding 1, left column of weights zero      →      %y = conv2d %x  3x2, padding 1, left 0

A tap counts for nothing where its weights are zero, or where it lies in the padding at every position (a 3x3 kernel on
a map one pixel wide). Keeps exact bits; integer layers only, since a float zero times infinity is no zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ops.base import Padding
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.passes.fold_report import report_of
from midge.passes.options import PassOptions
from midge.passes.weighted import any_along, inside_taps
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class _Axis:
    """Geometry along height or width."""

    size: int
    results: int
    stride: int
    dilation: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class _Trim:
    """The taps first to last (exclusive) along one axis, with the padding that keeps every position where it was."""

    first: int
    last: int
    before: int
    after: int


def refuse(graph: Graph, node: Node) -> str | None:
    """None where the kernel may become smaller; else the reason why not."""
    if not isinstance(node.op, Conv2D | DepthwiseConv2D):
        return f"{node.name} is no convolution"
    if graph.type(node.outputs[0]).dtype.is_float:
        return "its numbers are float"
    if graph.constant(node.inputs[1]) is None:
        return "its weights are no constants"
    used = _used_taps(graph, node)
    if any_along(used, 1)[[0, -1]].all() and any_along(used, 0)[[0, -1]].all():
        return "all its outer taps are used"
    if all(trim.last - trim.first == taps for trim, taps in zip(_trims(graph, node, used), used.shape, strict=True)):
        return "without padding, its unused taps hold the window in place"
    return None


def run(graph: Graph, board: Board, options: PassOptions) -> Graph:
    """The graph with each kernel as small as it may be."""
    del board
    trimmed = graph
    for node in graph.nodes:
        reason = refuse(graph, node)
        if reason is None:
            trimmed = _trimmed(trimmed, node)
        elif "unused" in reason:
            options.refuse(f"trim_taps: {node.name} stays, {reason}")
    if trimmed is not graph and options.report is not None:
        options.report(report_of("trim_taps", graph, trimmed))
    return trimmed


def _used_taps(graph: Graph, node: Node) -> np.ndarray:
    """bool [KH, KW]: taps with a weight that is not zero, that lie inside the input at some position."""
    assert isinstance(node.op, Conv2D | DepthwiseConv2D)
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    rows, columns = inside_taps(node.op.window(graph.type(node.inputs[1] or "")), graph.type(node.inputs[0] or ""))
    return any_along(weights != 0, 0, 3) & any_along(rows, 0)[:, None] & any_along(columns, 0)


def _trims(graph: Graph, node: Node, used: np.ndarray) -> tuple[_Trim, _Trim]:
    op, x, y = node.op, graph.type(node.inputs[0] or "").shape, graph.type(node.outputs[0]).shape
    assert isinstance(op, Conv2D | DepthwiseConv2D)
    pad = op.padding
    return (
        _trim(any_along(used, 1), _Axis(x[1], y[1], op.stride_h, op.dilation_h, pad.top, pad.bottom)),
        _trim(any_along(used, 0), _Axis(x[2], y[2], op.stride_w, op.dilation_w, pad.left, pad.right)),
    )


def _trim(used: np.ndarray, axis: _Axis) -> _Trim:
    """The fewest taps that hold all used ones.

    Taps in front are cut no further than there is padding to take back; taps behind, only while the number of
    results stays.
    """
    indices = np.flatnonzero(used)
    lowest, highest = (int(indices[0]), int(indices[-1])) if indices.size else (0, 0)
    first = min(lowest, axis.before // axis.dilation)
    before = axis.before - first * axis.dilation
    for last in range(highest + 1, used.size):
        span = (last - 1 - first) * axis.dilation + 1
        after = max(0, (axis.results - 1) * axis.stride + span - axis.size - before)
        same = (axis.size + before + after - span) // axis.stride + 1 == axis.results
        if same and before < span:  # every window still touches the input
            return _Trim(first, last, before, after)
    return _Trim(first, used.size, before, axis.after)


def _trimmed(graph: Graph, node: Node) -> Graph:
    x, w, b = node.inputs
    weights = graph.constant(w)
    assert isinstance(node.op, Conv2D | DepthwiseConv2D) and weights is not None and w is not None
    rows, columns = _trims(graph, node, _used_taps(graph, node))
    data = weights[:, rows.first : rows.last, columns.first : columns.last]
    builder = GraphBuilder.of(graph)
    name = w if graph.consumers(w) == (node,) and w not in graph.outputs else builder.unique(w)
    builder.value(name, replace(graph.type(w), shape=data.shape), data)
    op = replace(node.op, padding=Padding(rows.before, rows.after, columns.before, columns.after))
    builder.nodes[builder.nodes.index(node)] = Node(node.name, op, (x, name, b), node.outputs)
    return builder.build()
