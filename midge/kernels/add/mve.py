"""Sums with Helium (Cortex-M55): eight values at a time by the line over both operands (`line.py`)."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels.add.armv7em import line_of
from midge.kernels.add.line import Line
from midge.kernels.assembly import Assembly
from midge.kernels.base import Binding, Function, Kernel, LayerCode, Reads, row_steps
from midge.kernels.layouts import NATURAL
from midge.kernels.view import TaskView
from midge.ops.add import Add
from midge.ops.base import quantized_bounds
from midge.targets.records import Core

_BLOCK = 8
_NARROWED_BITS = 8
"""Bits below the point in 16-bit lanes: saturation to 16 bits is then saturation to int8."""
_LONGEST_SHIFT = 16
"""Of the narrowing shift."""
_LONGEST_ROW = 0xFFFF * _BLOCK
_REGISTERS = {
    "a": "r0", "b": "r1", "y": "r2", "b_factor": "r3", "offset": "r4", "t": "r5", "turn": "lr",
    "a0": "q0", "a1": "q1", "b0": "q2", "b1": "q3", "a_factor": "q4", "places": "q5", "low": "q6", "high": "q7",
}  # fmt: skip


class AddS8LineVectors(Kernel):
    """In assembly, one row a step."""

    name: ClassVar[str] = "add_s8_line__mve"
    op = Add

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        a, b = (graph.values[name or ""] for name in node.inputs)
        y = graph.type(node.outputs[0])
        if y.dtype is not DType.INT8:
            return "not int8"
        if a.is_constant or b.is_constant or a.type.shape != y.shape or b.type.shape != y.shape:
            return "operands are constant or broadcast"
        if y.row_elements > _LONGEST_ROW:
            return "its rows are too long"
        line = line_of(node, graph)
        return None if line is not None and line.shift > _NARROWED_BITS else "no line gives the same sums"

    def bind(self, node: Node, graph: Graph) -> Binding:
        y = graph.type(node.outputs[0])
        steps = row_steps(graph.input_types(node), y, {0: (1, 0, 1), 1: (1, 0, 1)})
        reads = Reads(NATURAL, over_bytes=-y.row_elements % _BLOCK)
        return Binding(self, (reads, reads), (NATURAL,), steps, in_place=(0, 1))

    def emit(self, view: TaskView) -> LayerCode:
        line, y = line_of(view.node, view.graph), view.y.type
        assert line is not None and view.inputs[1] is not None and isinstance(view.node.op, Add)
        low, high = quantized_bounds(view.node.op.activation, y)
        numbers = f"a{line.a_factor}b{line.b_factor}c{line.offset}s{line.shift}l{low}u{high}n{y.row_elements}"
        name = f"{view.prefix}_{self.name}_{numbers}".replace("-", "n")
        call = f"    {name}({view.x.at(1, 0)}, {view.inputs[1].at(1, 0)}, {view.y.at(1, 0)});\n"
        return LayerCode((_function(name, line, low, high, y.row_elements),), (), call)


def _function(name: str, line: Line, low: int, high: int, count: int) -> Function:
    """The function `void name(const int8_t *a, const int8_t *b, int8_t *y)`."""
    code = Assembly(name, f"Sum of {count} values.", _REGISTERS)
    narrowing = min(line.shift - _NARROWED_BITS, _LONGEST_SHIFT)
    early = line.shift - _NARROWED_BITS - narrowing
    code.constant("t", line.a_factor)
    code.op("vdup.32 {a_factor}, {t}")
    code.constant("b_factor", line.b_factor)
    # The narrowing shift rounds.
    code.constant("offset", line.offset - (1 << (narrowing - 1 + early)))
    code.op("mov {turn}, #0", "where lanes go: 0, 4, 1, 5, 2, 6, 3, 7")
    code.op("vidup.u32 {places}, {turn}, #1")
    code.constant("t", 0x1_0001)
    code.ops(["vmul.i32 {places}, {places}, {t}", "mov {t}, #0x40000", "vadd.i32 {places}, {places}, {t}"])
    clamps = [("low", low, -128, "vmax"), ("high", high, 127, "vmin")]
    clamps = [clamp for clamp in clamps if clamp[1] != clamp[2]]
    for vector, bound, _, _ in clamps:
        code.constant("t", bound)
        code.op(f"vdup.16 {{{vector}}}, {{t}}")
    whole, rest = divmod(count, _BLOCK)

    def block(store: str) -> None:
        code.ops(["vldrb.s32 {a1}, [{a}, #4]", "vldrb.s32 {a0}, [{a}], #8", "vldrb.s32 {b1}, [{b}, #4]",
                  "vldrb.s32 {b0}, [{b}], #8"])  # fmt: skip
        for half in "01":
            code.op(f"vmlas.s32 {{a{half}}}, {{a_factor}}, {{offset}}", "a * factor + offset" if half == "0" else "")
            code.op(f"vmla.s32 {{a{half}}}, {{b{half}}}, {{b_factor}}")
            if early:
                code.op(f"vshr.s32 {{a{half}}}, {{a{half}}}, #{early}")
        code.ops([f"vqrshrnb.s32 {{b0}}, {{a0}}, #{narrowing}", f"vqrshrnt.s32 {{b0}}, {{a1}}, #{narrowing}",
                  f"vshr.s16 {{b0}}, {{b0}}, #{_NARROWED_BITS}"])  # fmt: skip
        for vector, _, _, operation in clamps:
            code.op(f"{operation}.s16 {{b0}}, {{b0}}, {{{vector}}}")
        code.op(store)

    if whole:
        code.op(f"mov {{t}}, #{whole}")
        code.op("dls {turn}, {t}")
        with code.loop("next eight values") as label:
            block("vstrb.16 {b0}, [{y}, {places}]")
            code.ops(["add {y}, #8", f"le {{turn}}, {label}"])
    if rest:
        lanes = [lane for lane in range(_BLOCK) if lane % 2 * 4 + lane // 2 < rest]
        code.constant("t", sum(0b11 << 2 * lane for lane in lanes))
        code.op("vmsr p0, {t}")
        block("vpst")
        code.op("vstrbt.16 {b0}, [{y}, {places}]")
    return code.function(f"void {name}(const int8_t *a, const int8_t *b, int8_t *y)", saves_vectors=True)


KERNELS = (AddS8LineVectors(),)
