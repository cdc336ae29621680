"""Assembly of sums of widened rows, two values a word.

`SMLAWB` multiplies a half of a word by a factor of 32 bits, and drops 16 bits of the product:

    clamp((C + (a * A >> 16) + (b * B >> 16)) >> shift)

for a and b without their zero points and with their fraction bits, shown equal to the reference for all 65536 pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels.add.line import NUDGES, Line, Steps, reference_results
from midge.kernels.assembly import Assembly
from midge.kernels.base import Function, Layout
from midge.kernels.layouts import WIDE

_BITS = WIDE.fraction_bits or 0
_DROPPED = 16
_REGISTERS = {
    "a": "r0", "b": "r1", "y": "r2", "fa": "r3", "fb": "r4", "c": "r5", "end": "r6", "a0": "r7", "a1": "r8",
    "b0": "r9", "b1": "r10", "s0": "r11", "t0": "r12", "s1": "lr",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. `pairs_words`: the core issues two instructions at once, so two words take turns."""

    count: int
    zero_point: int
    result: Layout
    pairs_words: bool

    @property
    def is_centred(self) -> bool:
        """True where the result is stored without its zero point, and is never negative so."""
        return self.result == WIDE and self.zero_point == -128


def find_halves(node: Node, graph: Graph) -> Line | None:
    """Factors and offset for the operands as a wide row holds them; None where none was found."""
    a, b = (graph.type(name or "").quantization for name in node.inputs)
    y = graph.type(node.outputs[0]).quantization
    assert a is not None and b is not None and y is not None
    steps = Steps.of(reference_results(node, graph))
    reals = (a.scale / y.scale, b.scale / y.scale)
    reach = 256 * (reals[0] + reals[1]) + 256
    shift = int(min(30 - np.ceil(np.log2(reach)), 30 - _DROPPED + _BITS - np.ceil(np.log2(max(reals)))))
    if shift < 1:
        return None
    values = [(np.arange(-128, 128, dtype=np.int64) - type_.zero_point) << _BITS for type_ in (a, b)]
    for nudge in NUDGES:
        factors = [round(real * 2.0 ** (shift + _DROPPED - _BITS)) + change
                   for real, change in zip(reals, nudge, strict=True)]  # fmt: skip
        parts = [value * factor >> _DROPPED for value, factor in zip(values, factors, strict=True)]
        offset = steps.offset(parts[0][:, None] + parts[1][None, :], shift)
        if offset is not None and abs(offset) < 2**30:
            return Line(factors[0], factors[1], offset, shift)
    return None


def function(name: str, shape: Shape, line: Line, title: str) -> Function:
    """The function `void name(const int16_t *a, const int16_t *b, void *y)`."""
    code = Assembly(name, title, _REGISTERS)
    code.constant("fa", line.a_factor)
    code.constant("fb", line.b_factor)
    code.constant("c", line.offset + (128 << line.shift if shape.is_centred else 0))
    rounds, rest = divmod(shape.count, 4)
    if rounds > 1:
        code.constant("end", 8 * rounds)
        code.op("add {end}, {a}")
        with code.loop("next four values") as label:
            _words(code, shape, line, 2)
            code.ops(["cmp {a}, {end}", f"bne {label}"])
    elif rounds:
        _words(code, shape, line, 2)
    if rest >= 2:
        _words(code, shape, line, 1)
    if rest % 2:
        code.ops(["ldrsh {a0}, [{a}], #2", "ldrsh {b0}, [{b}], #2"])
        steps = _sum(shape, line, "b", "s0", "a0", "b0")
        code.ops([*steps, *([f"lsl {{s0}}, #{_BITS}"] if shape.result == WIDE else []),
                  "strh {s0}, [{y}], #2" if shape.result == WIDE else "strb {s0}, [{y}], #1"])  # fmt: skip
    return code.function(f"void {name}(const int16_t *a, const int16_t *b, void *y)")


def _words(code: Assembly, shape: Shape, line: Line, count: int) -> None:
    """Two values a word."""
    code.ops([f"ldr {{{row}{word}}}, [{{{row}}}], #4" for word in range(count) for row in "ab"])
    code.interleave([_word(shape, line, word) for word in range(count)], at_once=2 if shape.pairs_words else 1)


def _word(shape: Shape, line: Line, word: int) -> list[list[str]]:
    """Both sums of a word; the second one takes the register of its first operand."""
    low, high, a, b = f"s{word}", f"a{word}", f"a{word}", f"b{word}"
    lows, highs = _sum(shape, line, "b", low, a, b), _sum(shape, line, "t", high, a, b)
    groups = [[step] for pair in zip(lows, highs, strict=True) for step in pair]
    if shape.result == WIDE:
        groups.append([f"lsl {{{low}}}, #{_BITS}"])
        groups.append([f"pkhbt {{{low}}}, {{{low}}}, {{{high}}}, lsl #{16 + _BITS}"])
        groups.append([f"str {{{low}}}, [{{y}}], #4"])
    else:
        groups.append([f"strb {{{low}}}, [{{y}}], #1", f"strb {{{high}}}, [{{y}}], #1"])
    return groups


def _sum(shape: Shape, line: Line, half: str, to: str, a: str, b: str) -> list[str]:
    """One value; where the result is wide, without its zero point."""
    steps = [
        f"smlaw{half} {{{to}}}, {{fa}}, {{{a}}}, {{c}}",
        f"smlaw{half} {{{to}}}, {{fb}}, {{{b}}}, {{{to}}}",
        f"{'usat' if shape.is_centred else 'ssat'} {{{to}}}, #8, {{{to}}}, asr #{line.shift}",
    ]
    if shape.result == WIDE and not shape.is_centred and shape.zero_point:
        steps.append(f"{'sub' if shape.zero_point > 0 else 'add'} {{{to}}}, #{abs(shape.zero_point)}")
    return steps
