"""Sums for cores with the DSP extension: two multiplications and a saturation for each value."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.add import wide
from midge.kernels.add.line import Line, find_line
from midge.kernels.add.sums_s16 import SumS16
from midge.kernels.assembly import is_dual_issue
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.layouts import NATURAL, WIDE
from midge.kernels.view import TaskView, c_element
from midge.ops.add import Add
from midge.ops.base import Op, quantized_bounds
from midge.targets.records import Core

_LETTERS = {NATURAL: "n", WIDE: "w"}


class AddS8Line(Kernel):
    """One row a step; operands and result each as they are or widened."""

    op = Add

    def __init__(self, a: Layout, b: Layout, y: Layout) -> None:
        self.layouts = (a, b)
        self.layout = y
        self.name = f"add_s8_line_{_LETTERS[a]}{_LETTERS[b]}_to_{_LETTERS[y]}__armv7em"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        a, b = (graph.values[name or ""] for name in node.inputs)
        y = graph.type(node.outputs[0])
        if y.dtype is not DType.INT8:
            return "not int8"
        if a.is_constant or b.is_constant or a.type.shape != y.shape or b.type.shape != y.shape:
            return "operands are constant or broadcast"
        assert isinstance(node.op, Add)
        if quantized_bounds(node.op.activation, y) != y.dtype.limits:
            return "it clamps to less than int8"
        return None if self._found(node, graph) is not None else "no line gives the same sums"

    def _found(self, node: Node, graph: Graph) -> Line | None:
        """The sum as this kernel computes it."""
        return line_of(node, graph)

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        steps = row_steps(graph.input_types(node), y, {0: (1, 0, 1), 1: (1, 0, 1)})
        in_place = tuple(index for index, layout in enumerate(self.layouts) if layout == self.layout)
        return Binding(self, tuple(Reads(layout) for layout in self.layouts), (self.layout,), steps, in_place=in_place)

    def emit(self, view: TaskView) -> LayerCode:
        line = line_of(view.node, view.graph)
        assert line is not None and view.inputs[1] is not None
        zero_points = [view.graph.type(name or "").zero_point for name in view.node.inputs]
        offset = line.offset
        for layout, factor, zero_point in zip(self.layouts, (line.a_factor, line.b_factor), zero_points, strict=True):
            if layout == WIDE:
                offset += factor * zero_point
        kernel = render.specialised(
            "add/line.c.j2", self.name, line=line, offset=(offset + 2**31) % 2**32 - 2**31,
            count=view.y.type.row_elements, a=c_element(self.layouts[0].dtype), b=c_element(self.layouts[1].dtype),
            y=c_element(self.layout.dtype), a_bits=self.layouts[0].fraction_bits, b_bits=self.layouts[1].fraction_bits,
            y_bits=self.layout.fraction_bits, zero_point=view.y.type.zero_point,
        )  # fmt: skip
        call = f"    {kernel.name}({view.x.at(1, 0)}, {view.inputs[1].at(1, 0)}, {view.y.at(1, 0)});\n"
        return LayerCode((kernel,), (), call)


class AddS8Wide(AddS8Line):
    """In assembly, of two widened rows."""

    def __init__(self, variant: str, y: Layout) -> None:
        super().__init__(WIDE, WIDE, y)
        self.name = f"add_s8_wide{variant}__armv7em"

    def _found(self, node: Node, graph: Graph) -> Line | None:
        return line_of(node, graph, wide.find_halves)

    def emit(self, view: TaskView) -> LayerCode:
        line = self._found(view.node, view.graph)
        assert line is not None and view.inputs[1] is not None
        y = view.y.type
        shape = wide.Shape(y.row_elements, y.zero_point, self.layout, is_dual_issue(view.core))
        numbers = (shape.count, shape.zero_point, line.a_factor, line.b_factor, line.offset, line.shift)
        name = f"{view.prefix}_{self.name}_" + "_".join(map(str, numbers)).replace("-", "n")
        kernel = wide.function(name, shape, line, f"Sum of {shape.count} values.")
        call = f"    {name}({view.x.at(1, 0)}, {view.inputs[1].at(1, 0)}, {view.y.at(1, 0)});\n"
        return LayerCode((kernel,), (), call)


class AddS16Words(SumS16):
    """int16, two values a word."""

    name: ClassVar[str] = "add_s16_words__armv7em"
    op = Add


Finder = Callable[[Node, Graph], Line | None]


@lru_cache(maxsize=64)
def _line(op: Op, types: tuple[object, ...], place: _Keyless, find: Finder) -> Line | None:
    del op, types
    return find(place.node, place.graph)


class _Keyless:
    """A node of a graph that does not count as a part of a cache's key: names of values do not matter."""

    def __init__(self, node: Node, graph: Graph) -> None:
        self.node = node
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyless)

    def __hash__(self) -> int:
        return 0


def line_of(node: Node, graph: Graph, find: Finder = find_line) -> Line | None:
    """The line of a sum, searched for once."""
    return _line(node.op, (*graph.input_types(node), *graph.output_types(node)), _Keyless(node, graph), find)


_LINES = tuple(AddS8Line(a, b, y) for y, a, b in product((WIDE, NATURAL), repeat=3))

KERNELS = (AddS8Wide("_to_wide", WIDE), AddS8Wide("", NATURAL), *_LINES, AddS16Words())
