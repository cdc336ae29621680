"""Copies into and out of the layouts of the Armv6-M kernels."""

from __future__ import annotations

from midge.kernels import render
from midge.kernels.base import LayerCode
from midge.kernels.copy.between_layouts import CopyBetweenLayouts
from midge.kernels.layouts import EXCESS, EXCESS_PLANES, NATURAL
from midge.kernels.view import Rows, TaskView, c_element

_WORD_BYTES = 4


class CopyBytes(CopyBetweenLayouts):
    """int8 values, with and without their sign, row by row; four at a time where both rows lie at words."""

    def emit(self, view: TaskView) -> LayerCode:
        is_planar = self.source.planes or self.result.planes
        is_by_words = not is_planar and lies_at_words(view.x) and lies_at_words(view.y)
        elements = view.x.type.row_elements
        words = elements // _WORD_BYTES if is_by_words else 0
        template = "copy/bytes_planes.c.j2" if is_planar else "copy/bytes.c.j2"
        body = render.render(
            template, view=view, source=self.source, result=self.result, x_element=c_element(self.source.dtype),
            y_element=c_element(self.result.dtype), words=words, first=words * _WORD_BYTES, elements=elements,
        )  # fmt: skip
        return LayerCode((), (), body)


def lies_at_words(rows: Rows) -> bool:
    """True where each row's first pixel has an address that words may be loaded from."""
    starts = (rows.offset + rows.left_bytes, rows.stride_bytes)
    return not rows.is_pushed and all(start % _WORD_BYTES == 0 for start in starts)


KERNELS = (
    CopyBytes("copy_s8_excess__armv6m", NATURAL, EXCESS),
    CopyBytes("copy_s8_excess_planes__armv6m", NATURAL, EXCESS_PLANES),
    CopyBytes("copy_s8_from_excess__armv6m", EXCESS, NATURAL),
    CopyBytes("copy_s8_from_excess_planes__armv6m", EXCESS_PLANES, NATURAL),
    CopyBytes("copy_s8_excess_to_planes__armv6m", EXCESS, EXCESS_PLANES),
)
