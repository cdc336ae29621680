"""Copies into the layouts of the DSP kernels."""

from __future__ import annotations

from midge.kernels import render
from midge.kernels.base import LayerCode
from midge.kernels.copy.between_layouts import CopyBetweenLayouts
from midge.kernels.layouts import CENTRED, NATURAL, PLANES, WIDE
from midge.kernels.view import TaskView


class CopyLayout(CopyBetweenLayouts):
    """Plain loops over a row."""

    def emit(self, view: TaskView) -> LayerCode:
        template = "copy/planes.c.j2" if self.source.planes or self.result.planes else "copy/wide.c.j2"
        return LayerCode((), (), render.render(template, view=view, source=self.source, result=self.result))


KERNELS = (
    CopyLayout("copy_s8_wide__armv7em", NATURAL, WIDE),
    CopyLayout("copy_s8_centred__armv7em", NATURAL, CENTRED),
    CopyLayout("copy_s8_from_centred__armv7em", CENTRED, NATURAL),
    CopyLayout("copy_s8_planes__armv7em", NATURAL, PLANES),
    CopyLayout("copy_s8_from_wide__armv7em", WIDE, NATURAL),
    CopyLayout("copy_s8_from_planes__armv7em", PLANES, NATURAL),
)
