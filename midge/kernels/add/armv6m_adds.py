"""Sums for Armv6-M with the small multiplier: what a byte adds to a line is looked up, 1 KB for each operand."""

from __future__ import annotations

from itertools import product

import numpy as np

from midge.kernels import render
from midge.kernels.add.armv6m import LETTERS, AddS8LineBytes
from midge.kernels.add.armv7em import line_of
from midge.kernels.base import Constant, LayerCode, Layout
from midge.kernels.layouts import EXCESS, NATURAL
from midge.kernels.view import TaskView, c_element


class AddS8Tables(AddS8LineBytes):
    """One row a step; operands and result each as they are or as q + 128."""

    def __init__(self, a: Layout, b: Layout, y: Layout) -> None:
        super().__init__(a, b, y)
        self.name = f"add_s8_tables_{LETTERS[a]}{LETTERS[b]}_to_{LETTERS[y]}__armv6m_adds"

    def emit(self, view: TaskView) -> LayerCode:
        line = line_of(view.node, view.graph)
        assert line is not None and view.inputs[1] is not None
        kernel = render.specialised(
            "add/tables_bytes.c.j2", self.name, shift=line.shift, count=view.y.type.row_elements,
            a=c_element(self.layouts[0].dtype), b=c_element(self.layouts[1].dtype), y=c_element(self.layout.dtype),
            excess=self.layout.excess,
        )  # fmt: skip
        constants = (
            Constant("a_terms", _terms(self.layouts[0], line.a_factor, line.offset), 4),
            Constant("b_terms", _terms(self.layouts[1], line.b_factor, 0), 4),
        )
        tables = ", ".join(view.constant(constant.role) for constant in constants)
        call = f"    {kernel.name}({view.x.at(1, 0)}, {view.inputs[1].at(1, 0)}, {view.y.at(1, 0)}, {tables});\n"
        return LayerCode((kernel,), constants, call)


def _terms(layout: Layout, factor: int, offset: int) -> np.ndarray:
    """int32 [256]: what each stored byte adds."""
    stored = np.arange(256, dtype=np.int64)
    values = stored - layout.excess if layout.excess else stored.astype(np.uint8).view(np.int8).astype(np.int64)
    return (values * factor + offset).astype(np.int32)


KERNELS = tuple(AddS8Tables(a, b, y) for y, a, b in product((EXCESS, NATURAL), repeat=3))
