"""Assembly that widens int8 rows, four values a word.

`SXTAB16` takes the zero point off as it widens: e = (x0, x2), o = (x1, x3). Packing brings neighbours together, and
shifting by the layout's fraction bits comes before it: the lower half of a shifted register is right, and so is the
upper one but for bits that the lower one pushes into it where it can be negative; these are cleared at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function

_REGISTERS = {
    "x": "r0", "y": "r1", "minus": "r2", "mask": "r3", "end": "r12", "w0": "r4", "w1": "r5", "w2": "r6", "w3": "r7",
    "e0": "r8", "e1": "r9", "t0": "r10", "t1": "r11",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. `pairs_words`: the core issues two instructions at once, so two words take turns."""

    count: int
    zero_point: int
    fraction_bits: int
    pairs_words: bool
    words: int
    """Words of a round of the loop, at most four."""

    @property
    def spills(self) -> bool:
        """True where a shifted lower half reaches into the upper one."""
        return self.fraction_bits > 0 and self.zero_point > -128


def function(name: str, shape: Shape, title: str) -> Function:
    """The function `void name(const int8_t *x, int16_t *y)`; y starts at a word."""
    code = Assembly(name, title, _REGISTERS)
    minus = -shape.zero_point & 0xFFFF
    code.constant("minus", minus << 16 | minus)
    if shape.spills:
        bits = 0xFFFF << shape.fraction_bits & 0xFFFF
        code.constant("mask", bits << 16 | bits)
    rounds, rest = divmod(shape.count, 4 * shape.words)
    if rounds > 1:
        code.constant("end", 8 * shape.words * rounds)
        code.op("add {end}, {y}")
        with code.loop(f"next {4 * shape.words} values") as label:
            _words(code, shape, shape.words)
            code.ops(["cmp {y}, {end}", f"bne {label}"])
    elif rounds:
        _words(code, shape, shape.words)
    words, values = divmod(rest, 4)
    if words:
        _words(code, shape, words)
    for _ in range(values):
        code.ops(["ldrsb {w0}, [{x}], #1", "sxtah {w0}, {minus}, {w0}"])
        if shape.fraction_bits:
            code.op(f"lsl {{w0}}, #{shape.fraction_bits}")
        code.op("strh {w0}, [{y}], #2")
    return code.function(f"void {name}(const int8_t *x, int16_t *y)")


def _words(code: Assembly, shape: Shape, count: int) -> None:
    """Four values a word."""
    code.ops([f"ldr {{w{word}}}, [{{x}}, #{4 * word}]" for word in range(1, count)])
    code.op(f"ldr {{w0}}, [{{x}}], #{4 * count}")
    code.interleave([_word(shape, word) for word in range(count)], at_once=2 if shape.pairs_words else 1)


def _word(shape: Shape, word: int) -> list[list[str]]:
    """The instructions of one word; of two that take turns each has registers of its own."""
    bits, o, e, t = shape.fraction_bits, f"{{w{word}}}", f"{{e{word % 2}}}", f"{{t{word % 2}}}"
    steps = [f"sxtab16 {e}, {{minus}}, {o}", f"sxtab16 {o}, {{minus}}, {o}, ror #8"]
    if bits:
        steps += [f"lsl {e}, {e}, #{bits}", f"lsl {o}, {o}, #{bits}"]
    steps += [f"pkhbt {t}, {e}, {o}, lsl #16", f"pkhtb {o}, {o}, {e}, asr #16"]
    if shape.spills:
        steps.append(f"and {o}, {o}, {{mask}}")
    steps += [f"str {t}, [{{y}}], #4", f"str {o}, [{{y}}], #4"]
    return [*([step] for step in steps[:-2]), steps[-2:]]
