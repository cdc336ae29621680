"""Average pooling for cores with the DSP extension: four channels a word."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.average_pool2d.portable import AveragePool2DAccumulate, accumulated_rows
from midge.kernels.base import LayerCode
from midge.kernels.pooling import clamped, pool_window
from midge.kernels.view import TaskView
from midge.targets.records import Core

_MOST_VALUES = 255
"""In a window: their sum fits in 16 bits."""


class AveragePool2DQuad(AveragePool2DAccumulate):
    """One input row a step, added to pairs of 16-bit sums."""

    name: ClassVar[str] = "average_pool2d_s8_quad__armv7em"
    reads_pitched = False
    most_pitch_bytes = 0

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = pool_window(node, graph)
        if window.y.dtype is not DType.INT8:
            return "not int8"
        if window.x.channels % 4:
            return "its channels are no multiple of four"
        return "a window's sum can leave 16 bits" if window.kh * window.kw > _MOST_VALUES else None

    def emit(self, view: TaskView) -> LayerCode:
        window = pool_window(view.node, view.graph)
        text, helpers, key = clamped(view.node, view.graph, "value")
        kernel = render.function(
            "average_pool2d/quad.c.j2", f"{self.name}_{window.key}{key}", window=window,
            values=window.kh * window.kw, result=text,
        )  # fmt: skip
        row, tap, out = accumulated_rows(view)
        sums = f"(midge_u32 *)(void *)({view.scratch})"
        helpers = (*helpers, *(render.helper(name) for name in ("load_s8x4", "add_even_bytes", "add_odd_bytes")))
        return LayerCode((*helpers, kernel), (), f"    {kernel.name}({row}, {sums}, {tap}, {out});\n")


KERNELS = (AveragePool2DQuad(),)
