"""Vectors of length 1 in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels import render
from midge.kernels.base import Binding, Kernel, LayerCode, Layout, Reads, row_steps
from midge.kernels.view import TaskView
from midge.ops.base import Rounding
from midge.ops.l2_normalization import SMALLEST, L2Normalization
from midge.targets.records import Core


class L2NormalizationRows(Kernel):
    """One row a step, pixel after pixel, float32 or int8."""

    name: ClassVar[str] = "l2_normalization_rows__portable"
    op = L2Normalization

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def bind(self, node: Node, graph: Graph) -> Binding:
        x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
        steps = row_steps((x,), y, {0: (1, 0, 1)})
        return Binding(self, (Reads(Layout(x.dtype)),), (Layout(y.dtype),), steps, in_place=(0,))

    def emit(self, view: TaskView) -> LayerCode:
        x = view.x.type
        if x.dtype is DType.FLOAT32:
            kernel = render.specialised("l2_normalization/rows_f32.c.j2", self.name, channels=x.channels,
                                        smallest=render.c_float(SMALLEST))  # fmt: skip
            helpers = (render.helper("sqrt_f32"),)
        else:
            kernel = render.specialised("l2_normalization/rows_s8.c.j2", self.name, channels=x.channels,
                                        offset=render.c_offset(-x.zero_point))  # fmt: skip
            root = render.function("l2_normalization/inverse_root.c.j2", "midge_inverse_root")
            helpers = (
                render.helper("high_mul_q31"),
                root,
                render.scale_helper(Rounding.DOUBLE),
                render.helper("clamp"),
            )
        body = f"    {kernel.name}({view.x.at(1, 0)}, {view.y.at(1, 0)}, {x.columns});\n"
        return LayerCode((*helpers, kernel), (), body)


KERNELS = (L2NormalizationRows(),)
