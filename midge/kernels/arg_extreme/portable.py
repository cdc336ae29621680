"""Indices of largest and smallest values in plain C99, any element type."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import TensorType
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.view import TaskView, c_element
from midge.ops.arg_extreme import ArgExtreme
from midge.targets.records import Core


@dataclass(frozen=True, slots=True)
class Reach:
    """How a row of the result lies in x, taken as [outer, count, inner]."""

    inner: int
    """Elements of x between two values that are compared."""
    outer: int
    """Times that a row of the result goes on to the next `count` values."""
    run: int
    """Results made at each of them: `inner`, or fewer where a row is a part of them."""
    is_by_rows: bool
    """Row r of the result needs row r of x only."""


class ArgExtremeRows(Kernel):
    """One row of the result a step: from the same row of x, or from all of it."""

    name: ClassVar[str] = "arg_extreme_rows__portable"
    op = ArgExtreme

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        by_rows = _reach(node, x, y).is_by_rows
        steps = row_steps((x,), y, {0: (1, 0, 1) if by_rows else (0, 0, x.rows)})
        reads = Reads(Layout(x.dtype), flat=not by_rows and x.rows > 1)
        return Binding(self, (reads,), (Layout(y.dtype),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        x, y, op = view.x.type, view.y.type, view.node.op
        assert isinstance(op, ArgExtreme)
        reach, count = _reach(view.node, x, y), x.shape[op.axis]
        plain = "float" if x.dtype.is_float else x.dtype.c_name
        kernel = render.specialised(
            "arg_extreme/index.c.j2", self.name, largest=op.largest, count=count, inner=reach.inner, run=reach.run,
            x_element=c_element(x.dtype), y_element=c_element(y.dtype), x_plain=plain,
        )  # fmt: skip
        source = view.x.at(1, 0) if reach.is_by_rows else view.x.whole() + _start(reach, y, count)
        return LayerCode((kernel,), (), f"    {kernel.name}({source}, {view.y.at(1, 0)}, {reach.outer});\n")


def _reach(node: Node, x: TensorType, y: TensorType) -> Reach:
    assert isinstance(node.op, ArgExtreme)
    inner = math.prod(x.shape[node.op.axis + 1 :])
    size = y.row_elements
    # Both are products of the result's last dimensions, so one divides the other.
    return Reach(inner, max(size // inner, 1), min(inner, size), node.op.axis >= 2 and x.rows == y.rows)


def _start(reach: Reach, y: TensorType, count: int) -> str:
    """C text of what leads from x's first element to the first that row `step` of the result needs."""
    if y.rows == 1:
        return ""
    if reach.run == reach.inner:
        return f" + step * {reach.outer * count * reach.inner}u"
    rows = reach.inner // reach.run
    if rows == y.rows:
        return f" + step * {reach.run}u"
    return f" + step / {rows}u * {count * reach.inner}u + step % {rows}u * {reach.run}u"


KERNELS = (ArgExtremeRows(),)
