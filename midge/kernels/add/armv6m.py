"""Sums for Armv6-M: two multiplications for each value, on bytes with or without their sign."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

from midge.kernels import render
from midge.kernels.add.armv7em import AddS8Line, line_of
from midge.kernels.base import LayerCode, Layout
from midge.kernels.layouts import EXCESS, NATURAL
from midge.kernels.view import TaskView, c_element

LETTERS = {NATURAL: "n", EXCESS: "e"}


class AddS8LineBytes(AddS8Line):
    """One row a step; operands and result each as they are or as q + 128."""

    template: ClassVar[str] = "add/line_bytes.c.j2"

    def __init__(self, a: Layout, b: Layout, y: Layout) -> None:
        self.layouts = (a, b)
        self.layout = y
        self.name = f"add_s8_line_{LETTERS[a]}{LETTERS[b]}_to_{LETTERS[y]}__armv6m"

    def emit(self, view: TaskView) -> LayerCode:
        line = line_of(view.node, view.graph)
        assert line is not None and view.inputs[1] is not None
        offset = line.offset
        for layout, factor in zip(self.layouts, (line.a_factor, line.b_factor), strict=True):
            offset -= layout.excess * factor
        kernel = render.specialised(
            self.template, self.name, line=line, offset=(offset + 2**31) % 2**32 - 2**31,
            count=view.y.type.row_elements, a=c_element(self.layouts[0].dtype), b=c_element(self.layouts[1].dtype),
            y=c_element(self.layout.dtype), excess=self.layout.excess,
        )  # fmt: skip
        call = f"    {kernel.name}({view.x.at(1, 0)}, {view.inputs[1].at(1, 0)}, {view.y.at(1, 0)});\n"
        return LayerCode((kernel,), (), call)


KERNELS = tuple(AddS8LineBytes(a, b, y) for y, a, b in product((EXCESS, NATURAL), repeat=3))
