"""Copies of rows with Helium (Cortex-M55): 16 bytes at a time, the last ones in a loop that predicates its tail."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels.assembly import Assembly
from midge.kernels.base import Function, LayerCode
from midge.kernels.copy.portable import CopyRows
from midge.kernels.view import TaskView
from midge.targets.records import Core

_LANES = 16
_UNROLLED = 4


class CopyRowsVectors(CopyRows):
    """One row a step, of any element type."""

    name: ClassVar[str] = "copy_rows_vectors__mve"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        return "the operand is constant" if graph.values[node.inputs[0] or ""].is_constant else None

    def emit(self, view: TaskView) -> LayerCode:
        count = view.y.type.row_elements * view.y.type.dtype.bytes
        kernel = _function(f"{view.prefix}_{self.name}_n{count}", count)
        return LayerCode((kernel,), (), f"    {kernel.name}({view.x.at(1, 0)}, {view.y.at(1, 0)});\n")


def _function(name: str, count: int) -> Function:
    """The function `void name(const void *x, void *y)`."""
    code = Assembly(name, f"Copy of {count} bytes.", {"x": "r0", "y": "r1", "t": "r2", "turn": "lr", "v": "q0"})
    whole, rest = divmod(count, _LANES * _UNROLLED)
    move = ["vldrb.u8 {v}, [{x}], #16", "vstrb.8 {v}, [{y}], #16"]
    if whole:
        code.constant("t", whole)
        code.op("dls {turn}, {t}")
        with code.loop(f"next {_LANES * _UNROLLED} bytes") as label:
            code.ops(move * _UNROLLED)
            code.op(f"le {{turn}}, {label}")
    if rest:
        code.ops([f"mov {{t}}, #{rest}", "dlstp.8 {turn}, {t}"])
        with code.loop("last bytes") as label:
            code.ops(move)
            code.op(f"letp {{turn}}, {label}")
    return code.function(f"void {name}(const void *x, void *y)")


KERNELS = (CopyRowsVectors(),)
