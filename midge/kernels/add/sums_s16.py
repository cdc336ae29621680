"""Sums and differences of int16 rows with the DSP extension, two values a word: the definition itself.

One operand has the larger scale, so its addend is the value times 2^14 (docs/numerics.md, "Addition and subtraction").
The other one's, for a multiplier m and a shift right by k, is with h = 2^(k - 1) a product of 32 bits in two roundings:

    (high + h - (b < 0)) >> k,   high = (m * (b << 16) + 2^31) >> 32        SMMLAR, ADD, and a shift that comes free

A half of a word, shifted up, is that `b << 16`. The sum S goes the same way, as 2 S: |S| is at most 2^30.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.ir.types import DType
from midge.kernels.assembly import Assembly
from midge.kernels.base import Binding, Function, Kernel, LayerCode, Reads, row_steps
from midge.kernels.layouts import NATURAL_S16
from midge.kernels.view import TaskView
from midge.ops.add import Add
from midge.ops.base import quantized_bounds
from midge.ops.elementwise import SumParameters
from midge.ops.sub import Sub
from midge.targets.records import Core

_REGISTERS = {
    "a": "r0", "b": "r1", "y": "r2", "one": "r3", "m": "r4", "h": "r5", "m_sum": "r6", "h_sum": "r7", "end": "r8",
    "x0": "r9", "x1": "r10", "s": "r11", "t": "r12", "v": "lr",
}  # fmt: skip
_WORDS = 4
"""Of a round of the loop."""
_EXACT = (1 << 30, 0)
"""Multiplier and shift of one half."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on: `exact` is the operand (0 or 1) that is multiplied by 2^14."""

    count: int
    exact: int
    sign: int
    """Of b."""
    multiplier: int
    shift: int
    sum_multiplier: int
    sum_shift: int
    is_rectified: bool
    """Results are never negative."""

    @property
    def are_exact(self) -> bool:
        """Both operands are multiplied by 2^14."""
        return (self.multiplier, self.shift) == _EXACT

    @property
    def key(self) -> str:
        numbers = (self.count, self.exact, self.multiplier, self.shift, self.sum_multiplier, self.sum_shift)
        return "_".join(map(str, numbers)) + ("u" if self.is_rectified else "")


def shape_of(node: Node, graph: Graph) -> Shape:
    """The shape of a sum or difference of int16."""
    op = node.op
    assert isinstance(op, Add | Sub)
    a, b, y = (graph.type(name or "") for name in (*node.inputs, *node.outputs))
    p: SumParameters = op.parameters(a, b, y)
    pairs = ((p.a_multiplier_q31, p.a_shift), (p.b_multiplier_q31, p.b_shift))
    exact = pairs.index(_EXACT)
    multiplier, shift = pairs[1 - exact]
    sign = 1 if isinstance(op, Add) else -1
    low, _ = quantized_bounds(op.activation, y)
    return Shape(y.row_elements, exact, sign, multiplier, -shift, p.output_multiplier_q31, -p.output_shift,
                 low == 0)  # fmt: skip


class SumS16(Kernel):
    """In assembly, operands of the result's shape."""

    op: ClassVar[type[Add | Sub]]

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        del core
        a, b = (graph.values[name or ""] for name in node.inputs)
        y = graph.type(node.outputs[0])
        if y.dtype is not DType.INT16:
            return "not int16"
        if a.is_constant or b.is_constant or a.type.shape != y.shape or b.type.shape != y.shape:
            return "operands are constant or broadcast"
        assert isinstance(node.op, Add | Sub)
        low, high = quantized_bounds(node.op.activation, y)
        if low not in (0, y.dtype.limits[0]) or high != y.dtype.limits[1]:
            return "it clamps to less than int16"
        return None if 1 <= shape_of(node, graph).sum_shift <= 31 else "the result's scale is too small"

    def bind(self, node: Node, graph: Graph) -> Binding:
        steps = row_steps(graph.input_types(node), graph.type(node.outputs[0]), {0: (1, 0, 1), 1: (1, 0, 1)})
        return Binding(self, (Reads(NATURAL_S16), Reads(NATURAL_S16)), (NATURAL_S16,), steps, in_place=(0, 1))

    def emit(self, view: TaskView) -> LayerCode:
        shape, b = shape_of(view.node, view.graph), view.inputs[1]
        assert b is not None
        kernel = function(f"{view.prefix}_{self.name}_{shape.key}", shape)
        return LayerCode((kernel,), (), f"    {kernel.name}({view.x.at(1, 0)}, {b.at(1, 0)}, {view.y.at(1, 0)});\n")


def function(name: str, shape: Shape) -> Function:
    """The function `void name(const int16_t *a, const int16_t *b, int16_t *y)`."""
    code = Assembly(name, f"{'Sum' if shape.sign > 0 else 'Difference'} of {shape.count} values.", _REGISTERS)
    code.constant("one", 1 << 14)
    if shape.are_exact:
        code.constant("m", shape.sign << 14)
    else:
        code.constant("m", shape.multiplier)
        code.constant("h", 1 << (shape.shift - 1) if shape.shift else 0)
    code.constant("m_sum", shape.sum_multiplier)
    code.constant("h_sum", 1 << (shape.sum_shift - 1))
    words, odd = divmod(shape.count, 2)
    rounds, rest = divmod(words, _WORDS)
    if rounds > 1:
        code.constant("end", 4 * _WORDS * rounds)
        code.op("add {end}, {y}")
        with code.loop(f"next {2 * _WORDS} values") as label:
            _words(code, shape, _WORDS)
            code.ops(["cmp {y}, {end}", f"bne {label}"])
    else:
        rest += rounds * _WORDS
    _words(code, shape, rest)
    if odd:
        code.ops(["ldrsh {x0}, [{a}]", "ldrsh {x1}, [{b}]"])
        _value(code, shape, "b", "s")
        code.op("strh {s}, [{y}]")
    return code.function(f"void {name}(const int16_t *a, const int16_t *b, int16_t *y)")


def _words(code: Assembly, shape: Shape, count: int) -> None:
    for _ in range(count):
        code.ops(["ldr {x0}, [{a}], #4", "ldr {x1}, [{b}], #4"])
        _value(code, shape, "b", "s")
        _value(code, shape, "t", "x0")
        code.ops(["pkhbt {s}, {s}, {x0}, lsl #16", "str {s}, [{y}], #4"])


def _value(code: Assembly, shape: Shape, half: str, to: str) -> None:
    """One value, of the bottom or top halves of x0 and x1; `to` may be x0 for the top ones."""
    exact, scaled = (f"{{x{operand}}}" for operand in (shape.exact, 1 - shape.exact))
    if shape.are_exact:
        code.op(f"smul{half}b {{t}}, {{x1}}, {{m}}")
        code.op(f"smla{half}b {{{to}}}, {{x0}}, {{one}}, {{t}}")
    else:
        code.op(f"lsl {{t}}, {scaled}, #16" if half == "b" else f"bfc {scaled}, #0, #16")
        source = "{t}" if half == "b" else scaled
        code.ops(_scaled("v", source, "m", "h" if shape.shift else ""))
        combine = "add" if shape.sign > 0 else "sub" if shape.exact == 0 else "rsb"
        code.op(f"smul{half}b {{{to}}}, {exact}, {{one}}")
        code.op(f"{combine} {{{to}}}, {{{to}}}, {{v}}{f', asr #{shape.shift}' if shape.shift else ''}")
    code.op(f"lsl {{{to}}}, #1")
    code.ops(_scaled("v", f"{{{to}}}", "m_sum", "h_sum", is_never_negative=shape.is_rectified))
    saturate, bits = ("usat", 15) if shape.is_rectified else ("ssat", 16)
    code.op(f"{saturate} {{{to}}}, #{bits}, {{v}}, asr #{shape.sum_shift}")


def _scaled(to: str, source: str, multiplier: str, half: str, *, is_never_negative: bool = False) -> list[str]:
    """Both roundings, but for the last shift; of results that are never negative negative ones need no care."""
    if not half:
        return [f"smmulr {{{to}}}, {source}, {{{multiplier}}}"]
    product = f"smmlar {{{to}}}, {source}, {{{multiplier}}}, {{{half}}}"
    return [product] if is_never_negative else [product, f"add {{{to}}}, {{{to}}}, {source}, asr #31"]
