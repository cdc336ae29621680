"""Concatenation in plain C99: copies, any element type."""

from __future__ import annotations

import math
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels.base import Binding, Constant, Kernel, LayerCode, Layout, Reads, Step, row_steps
from midge.kernels.render import render
from midge.kernels.view import TaskView, c_element
from midge.ops.concatenation import Concatenation
from midge.targets.records import Core


class ConcatenationColumns(Kernel):
    """Within rows (or of tensors without rows): each row of the result from a row of every operand."""

    name: ClassVar[str] = "concatenation_columns__portable"
    op = Concatenation

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        y = graph.type(node.outputs[0])
        return "the operands lie below each other" if y.rows > 1 and _axis(node) < 2 else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        windows: dict[int, tuple[int, int, int]] = {}
        reads: list[Reads | None] = []
        for index, name in enumerate(node.inputs):
            x = graph.type(name or "")
            if graph.values[name or ""].is_constant:
                reads.append(None)
                continue
            windows[index] = (1, 0, 1) if y.rows > 1 else (0, 0, x.rows)
            reads.append(Reads(Layout(y.dtype), flat=y.rows == 1 and x.rows > 1))
        return Binding(self, tuple(reads), (Layout(y.dtype),), row_steps(graph.input_types(node), y, windows))

    def emit(self, view: TaskView) -> LayerCode:
        y, axis = view.y.type, _axis(view.node)
        first = 2 if y.rows > 1 else 0
        sources = []
        constants = []
        for index, name in enumerate(view.node.inputs):
            x = view.graph.type(name or "")
            data = view.graph.constant(name)
            rows = view.inputs[index]
            role = f"x{index}"
            if data is not None:
                constants.append(Constant(role, data))
                source = f"{view.constant(role)} + step * {x.row_elements}u" if y.rows > 1 else view.constant(role)
            else:
                assert rows is not None
                source = rows.at(1, 0) if y.rows > 1 else rows.whole()
            sources.append(source)
        elements = [math.prod(view.graph.type(name or "").shape[axis:]) for name in view.node.inputs]
        body = render(
            "concatenation/columns.c.j2", y=view.y.at(1, 0), element=c_element(y.dtype), bytes=y.dtype.bytes,
            sources=sources, elements=elements, before=[sum(elements[:i]) for i in range(len(elements))],
            turns=math.prod(y.shape[first:axis]),
        )  # fmt: skip
        return LayerCode((), tuple(constants), body)


class ConcatenationRows(Kernel):
    """Rows of the operands one after another: each row of the result is a row of one operand."""

    name: ClassVar[str] = "concatenation_rows__portable"
    op = Concatenation

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        y = graph.type(node.outputs[0])
        return None if y.rows > 1 and _axis(node) < 2 else "the operands do not lie below each other"

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        types = [graph.type(name or "") for name in node.inputs]
        constant = [graph.values[name or ""].is_constant for name in node.inputs]
        starts = _starts(node, graph)

        def needs(row: int) -> tuple[tuple[int, int] | None, ...]:
            """One row of one operand; of the others none: those before have been read, those after are to come."""
            clipped = [min(max(row - start, 0), x.rows) for x, start in zip(types, starts, strict=True)]
            return tuple(
                None if fixed else (r, r if start <= row < start + x.rows else r - 1)
                for x, start, fixed, r in zip(types, starts, constant, clipped, strict=True)
            )

        layout = Layout(y.dtype)
        reads = tuple(None if fixed else Reads(layout) for fixed in constant)
        return Binding(self, reads, (layout,), tuple(Step(needs(row), 1) for row in range(y.rows)))

    def emit(self, view: TaskView) -> LayerCode:
        y = view.y.type
        parts = []
        constants = []
        for index, (name, start) in enumerate(zip(view.node.inputs, _starts(view.node, view.graph), strict=True)):
            data = view.graph.constant(name)
            rows = view.inputs[index]
            role = f"x{index}"
            if data is not None:
                constants.append(Constant(role, data))
                step = f"(step - {start}u)" if start else "step"
                source = f"{view.constant(role)} + {step} * {y.row_elements}u"
            else:
                assert rows is not None
                source = rows.at(1, -start)
            parts.append({"source": source, "end": start + view.graph.type(name or "").rows})
        row_bytes = y.row_elements * y.dtype.bytes
        body = render("concatenation/rows.c.j2", view=view, parts=parts, row_bytes=row_bytes)
        return LayerCode((), tuple(constants), body)


def _axis(node: Node) -> int:
    assert isinstance(node.op, Concatenation)
    return node.op.axis


def _starts(node: Node, graph: Graph) -> list[int]:
    """The row of the result that each operand starts at."""
    rows = [graph.type(name or "").rows for name in node.inputs]
    return [sum(rows[:index]) for index in range(len(rows))]


KERNELS = (ConcatenationColumns(), ConcatenationRows())
