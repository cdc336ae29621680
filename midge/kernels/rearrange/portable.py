"""Elements in another order in plain C99: nested loops, any element type."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import TensorType
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, Step
from midge.kernels.loops import Loop, index_text, merged_loops
from midge.kernels.render import render
from midge.kernels.view import TaskView, c_element
from midge.ops.rearrange import Rearrange
from midge.targets.records import Core

Loops = tuple[tuple[int, int], ...]
"""(count, stride in elements of x), outermost first."""


@dataclass(frozen=True, slots=True)
class Split:
    """A nest of loops cut where rows of the result begin. `outer` counts rows, `inner` the elements of one."""

    offset: int
    outer: Loops
    inner: Loops

    @property
    def lowest(self) -> int:
        """Where the lowest element of a row lies, from the row's start."""
        return sum(min((count - 1) * stride, 0) for count, stride in self.inner)

    @property
    def highest(self) -> int:
        return sum(max((count - 1) * stride, 0) for count, stride in self.inner)

    def starts(self) -> list[int]:
        """Where each row starts in x."""
        found = [self.offset]
        for count, stride in self.outer:
            found = [start + turn * stride for start in found for turn in range(count)]
        return found


class RearrangeRows(Kernel):
    """One row a step: from one row of x where rows of the result lie so, evenly; else from all of x."""

    name: ClassVar[str] = "rearrange_rows__portable"
    op = Rearrange

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        if graph.values[node.inputs[0] or ""].is_constant:
            return "the operand is constant"
        return None if _split(node, graph.type(node.outputs[0])) is not None else "its rows do not begin with a loop"

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        split = _split(node, y)
        assert split is not None
        rows = _rows(split, x)
        if rows is None:
            steps = tuple(Step(((0, x.rows - 1),), 1) for _ in range(y.rows))
        else:
            scale, first = rows
            steps = tuple(Step(((row * scale + first, row * scale + first),), 1) for row in range(y.rows))
        reads = Reads(Layout(x.dtype), flat=rows is None and x.rows > 1)
        return Binding(self, (reads,), (Layout(y.dtype),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        split = _split(view.node, view.y.type)
        assert split is not None
        rows = _rows(split, view.x.type)
        if rows is None:
            x, start = view.x.whole(), _start_text(split)
        else:
            x, start = view.x.at(*rows), f"{split.offset % view.x.type.row_elements}"
        loops = merged_loops([count for count, _ in split.inner], [[stride for _, stride in split.inner]])
        run = loops[-1].count if loops and loops[-1].strides == (1,) else 1
        outer: tuple[Loop, ...] = loops[:-1] if run > 1 else loops
        body = render(
            "rearrange/rows.c.j2", element=c_element(view.y.type.dtype), x=x, y=view.y.at(1, 0), start=start,
            loops=outer, index=index_text(outer, 0), run=run, run_bytes=run * view.y.type.dtype.bytes,
        )  # fmt: skip
        return LayerCode((), (), body)


class RearrangeDigits(Kernel):
    """Any loops: each element's place from the digits of its number. Divisions for each one, so the last resort."""

    name: ClassVar[str] = "rearrange_digits__portable"
    op = Rearrange

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        steps = tuple(Step(((0, x.rows - 1),), 1) for _ in range(y.rows))
        return Binding(self, (Reads(Layout(x.dtype), flat=x.rows > 1),), (Layout(y.dtype),), steps)

    def emit(self, view: TaskView) -> LayerCode:
        op = view.node.op
        assert isinstance(op, Rearrange)
        terms, inner = [f"{op.offset}"] if op.offset else [], 1
        for count, stride in reversed(list(zip(op.counts, op.strides, strict=True))):
            if stride and count > 1:
                terms.append(f"n / {inner} % {count} * {stride}" if inner > 1 else f"n % {count} * {stride}")
            inner *= count
        body = render(
            "rearrange/digits.c.j2", element=c_element(view.y.type.dtype), x=view.x.whole(), y=view.y.at(1, 0),
            count=view.y.type.row_elements, index=" + ".join(terms) or "0",
        )  # fmt: skip
        return LayerCode((), (), body)


def _split(node: Node, y: TensorType) -> Split | None:
    """The loops cut at the beginning of a row; a loop that goes across is cut in two where it can be."""
    assert isinstance(node.op, Rearrange)
    outer: list[tuple[int, int]] = []
    loops = list(zip(node.op.counts, node.op.strides, strict=True))
    rows = y.rows
    while rows > 1:
        count, stride = loops.pop(0)
        shared = math.gcd(count, rows)
        if shared == 1 and count > 1:
            return None
        rows //= shared
        if shared < count:
            outer.append((shared, stride * (count // shared)))
            loops.insert(0, (count // shared, stride))
            if rows > 1:
                return None
        else:
            outer.append((count, stride))
    return Split(node.op.offset, tuple(outer), tuple(loops))


def _rows(split: Split, x: TensorType) -> tuple[int, int] | None:
    """(scale, first): row r of the result lies within row `r * scale + first` of x; None where that is not so."""
    size = x.row_elements
    first, start = divmod(split.offset, size)
    if x.rows == 1 or start + split.lowest < 0 or start + split.highest >= size:
        return None
    starts = split.starts()
    step = starts[1] - starts[0] if len(starts) > 1 else 0
    even = all(later - earlier == step for earlier, later in itertools.pairwise(starts))
    return (step // size, first) if even and step >= 0 and step % size == 0 else None


def _start_text(split: Split) -> str:
    """C expression of where row `step` starts in x."""
    terms, inner = [f"{split.offset}"] if split.offset else [], 1
    for position, (count, stride) in reversed(list(enumerate(split.outer))):
        turn = "(int32_t)step" if inner == 1 else f"(int32_t)step / {inner}"
        if position:
            turn = f"{turn} % {count}" if inner > 1 else f"(int32_t)step % {count}"
        if stride:
            terms.append(f"{turn} * {stride}" if stride != 1 else turn)
        inner *= count
    return " + ".join(terms) or "0"


KERNELS = (RearrangeRows(), RearrangeDigits())
