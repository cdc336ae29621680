"""Sums for RV32M: two multiplications for each value."""

from __future__ import annotations

from typing import ClassVar

from midge.kernels import render
from midge.kernels.add.armv7em import AddS8Line, line_of
from midge.kernels.base import LayerCode
from midge.kernels.layouts import NATURAL
from midge.kernels.view import TaskView, c_element


class AddS8LineBytes(AddS8Line):
    """One row a step."""

    template: ClassVar[str] = "add/line_bytes.c.j2"

    def __init__(self) -> None:
        super().__init__(NATURAL, NATURAL, NATURAL)
        self.name = "add_s8_line__rv32"

    def emit(self, view: TaskView) -> LayerCode:
        line = line_of(view.node, view.graph)
        assert line is not None and view.inputs[1] is not None
        element = c_element(NATURAL.dtype)
        kernel = render.specialised(self.template, self.name, line=line, offset=line.offset, excess=0, a=element,
                                    b=element, y=element, count=view.y.type.row_elements)  # fmt: skip
        call = f"    {kernel.name}({view.x.at(1, 0)}, {view.inputs[1].at(1, 0)}, {view.y.at(1, 0)});\n"
        return LayerCode((kernel,), (), call)


KERNELS = (AddS8LineBytes(),)
