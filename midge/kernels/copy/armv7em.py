"""Copies into the layouts of the DSP kernels."""

from __future__ import annotations

from midge.kernels import render
from midge.kernels.assembly import is_dual_issue
from midge.kernels.base import LayerCode
from midge.kernels.copy import widen
from midge.kernels.copy.between_layouts import CopyBetweenLayouts
from midge.kernels.layouts import CENTRED, NATURAL, NATURAL_S16, PLANES, PLANES_S16, WIDE, WIDE_PLANES
from midge.kernels.view import TaskView, c_element


class CopyLayout(CopyBetweenLayouts):
    """Plain loops over a row."""

    def emit(self, view: TaskView) -> LayerCode:
        template = "copy/planes.c.j2" if self.source.planes or self.result.planes else "copy/wide.c.j2"
        body = render.render(template, view=view, source=self.source, result=self.result, element=c_element,
                             c_offset=render.c_offset)  # fmt: skip
        return LayerCode((), (), body)


class CopyWidened(CopyBetweenLayouts):
    """In assembly, a row as it is into one that is widened."""

    def emit(self, view: TaskView) -> LayerCode:
        x, bits = view.x.type, self.result.fraction_bits
        assert bits is not None
        words = 1 if view.peers else _WORDS
        shape = widen.Shape(x.row_elements, x.zero_point, bits, is_dual_issue(view.core), words)
        name = f"{view.prefix}_{self.name}_n{shape.count}z{shape.zero_point}".replace("-", "n")
        kernel = widen.function(name, shape, f"Widen {shape.count} values.")
        return LayerCode((kernel,), (), f"    {name}({view.x.at(1, 0)}, {view.y.at(1, 0)});\n")


_WORDS = 4
"""That a round of the loop widens, unless RAM or flash come first."""

KERNELS = (
    CopyWidened("copy_s8_wide__armv7em", NATURAL, WIDE),
    CopyWidened("copy_s8_centred__armv7em", NATURAL, CENTRED),
    CopyLayout("copy_s8_from_centred__armv7em", CENTRED, NATURAL),
    CopyLayout("copy_s8_planes__armv7em", NATURAL, PLANES),
    CopyLayout("copy_s8_from_wide__armv7em", WIDE, NATURAL),
    CopyLayout("copy_s8_from_planes__armv7em", PLANES, NATURAL),
    CopyLayout("copy_s8_wide_planes__armv7em", NATURAL, WIDE_PLANES),
    CopyLayout("copy_s8_from_wide_planes__armv7em", WIDE_PLANES, NATURAL),
    CopyLayout("copy_s16_planes__armv7em", NATURAL_S16, PLANES_S16),
    CopyLayout("copy_s16_from_planes__armv7em", PLANES_S16, NATURAL_S16),
)
