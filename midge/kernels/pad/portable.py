"""Padding with real zeros in plain C99: fills and copies, any element type."""

from __future__ import annotations

import math
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import TensorType
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.loops import dense_strides, index_text, merged_loops
from midge.kernels.render import render
from midge.kernels.view import TaskView, c_element
from midge.ops.pad import Pad
from midge.targets.records import Core

Pairs = tuple[tuple[int, int], ...]


class PadRows(Kernel):
    """One row a step: all fill, or fill round a row of x. Tensors without rows in one step."""

    name: ClassVar[str] = "pad_rows__portable"
    op = Pad

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        y = graph.type(node.outputs[0])
        if graph.values[node.inputs[0] or ""].is_constant:
            return "the operand is constant"
        if y.dtype.bytes > 1 and y.zero_point != 0:
            return f"the fill {y.zero_point} of {y.dtype.value} is not made of equal bytes"
        return None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        top, _ = _split(x, _paddings(node))
        flat = top is None and x.rows > 1
        return Binding(self, (Reads(Layout(y.dtype), flat=flat),), (Layout(y.dtype),), _steps(x, y, top))

    def emit(self, view: TaskView) -> LayerCode:
        x, y = view.x.type, view.y.type
        top, pairs = _split(x, _paddings(view.node))
        shape = x.shape if top is None else x.shape[2:]
        padded = tuple(size + before + after for size, (before, after) in zip(shape, pairs, strict=True))
        strides = (dense_strides(shape), dense_strides(padded))
        run = _first_of_run(pairs)
        loops = merged_loops(shape[:run], (strides[0][:run], strides[1][:run]))
        run_elements = math.prod(shape[run:])
        start = sum(before * stride for (before, _), stride in zip(pairs, strides[1], strict=True))
        body = render(
            "pad/rows.c.j2", element=c_element(y.dtype), loops=loops, start=start, fill=y.zero_point,
            x=view.x.whole() if top is None else view.x.at(1, -top), y=view.y.at(1, 0),
            x_index=index_text(loops, 0), y_index=index_text(loops, 1), run_bytes=run_elements * y.dtype.bytes,
            row_bytes=y.row_elements * y.dtype.bytes, outside=_outside(x, y, top),
        )  # fmt: skip
        return LayerCode((), (), body)


def _paddings(node: Node) -> Pairs:
    assert isinstance(node.op, Pad)
    return node.op.paddings


def _split(x: TensorType, paddings: Pairs) -> tuple[int | None, Pairs]:
    """Rows of fill above x, and the padding of the dimensions within a row; (None, all padding) without rows."""
    if len(x.shape) >= 3 and x.shape[0] == 1 and paddings[0] == (0, 0):
        return paddings[1][0], paddings[2:]
    return None, paddings


def _steps(x: TensorType, y: TensorType, top: int | None) -> tuple[Step, ...]:
    """One step for each row of the result; rows of fill need nothing."""
    if top is None:
        return (Step(((0, x.rows - 1),), 1),)

    def need(row: int) -> tuple[int, int]:
        first = min(max(row - top, 0), x.rows)
        return first, first if top <= row < top + x.rows else first - 1

    return tuple(Step((need(row),), 1) for row in range(y.rows))


def _outside(x: TensorType, y: TensorType, top: int | None) -> str:
    """C condition that a step makes a row of fill; empty where no step does."""
    conditions = []
    if top:
        conditions.append(f"step < {top}")
    if top is not None and y.rows > top + x.rows:
        conditions.append(f"step >= {top + x.rows}")
    return " || ".join(conditions)


def _first_of_run(pairs: Pairs) -> int:
    """The number of outer dimensions that must be looped over: values of the others lie side by side in both."""
    padded = [axis for axis, pair in enumerate(pairs) if pair != (0, 0)]
    return padded[-1] if padded else 0


KERNELS = (PadRows(),)
