"""Assembly of fully connected layers of int16 whose sums need 64 bits: `SMLALD` adds two products to two registers.

Blocks of up to four outputs. A step multiplies four inputs by four weights of each output, a word of bytes that
`SXTB16` widens to (w0, w1) and (w2, w3). The stream holds for each block start values of 64 bits, then the words of all
steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function

MOST_OUTPUTS = 4
_REGISTERS = {
    "xp": "r0", "wp": "r1", "x0": "r2", "x1": "r3", "a0": "r4", "b0": "r5", "a1": "r6", "b1": "r7", "a2": "r8",
    "b2": "r9", "a3": "r10", "b3": "r11", "w": "r12", "t": "lr",
}  # fmt: skip
_OUT_AT, _X_AT, _X_END_AT, _BLOCKS_AT, _FRAME_BYTES = 0, 4, 8, 12, 16
_UNROLL = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on."""

    inputs: int
    outputs: int

    @property
    def steps(self) -> int:
        return -(-self.inputs // 4)

    @property
    def unroll(self) -> int:
        """Steps in the body of the loop."""
        return next(n for n in range(min(_UNROLL, self.steps), 0, -1) if self.steps % n == 0)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(outputs, how often): fours, and the rest."""
        fours, rest = divmod(self.outputs, MOST_OUTPUTS)
        return tuple((size, count) for size, count in ((MOST_OUTPUTS, fours), (rest, 1)) if size and count)


def weight_stream(weights: np.ndarray, starts: np.ndarray, shape: Shape) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, I]; starts: int64 [O]."""
    padded = np.pad(weights, ((0, 0), (0, 4 * shape.steps - shape.inputs)))
    steps = padded.reshape(len(weights), shape.steps, 4)[:, :, [0, 2, 1, 3]]
    words = np.ascontiguousarray(steps).view(np.int32).reshape(len(weights), shape.steps)
    parts: list[np.ndarray] = []
    for first in range(0, len(weights), MOST_OUTPUTS):
        block = slice(first, first + MOST_OUTPUTS)
        parts += [starts[block].astype("<i8").view(np.int32), words[block].T.reshape(-1)]
    return np.concatenate(parts)


def function(name: str, shape: Shape) -> Function:
    """The function `void name(const int16_t *x, midge_s64 *sums, const int32_t *stream)`."""
    title = f"Sums of 64 bits: {shape.inputs} values in, {shape.outputs} out."
    code = Assembly(name, title, _REGISTERS, _FRAME_BYTES)
    code.ops([f"str r1, [sp, #{_OUT_AT}]", "mov {wp}, r2", f"str {{xp}}, [sp, #{_X_AT}]"])
    if shape.unroll < shape.steps:
        code.constant("t", 8 * shape.steps)
        code.ops(["add {t}, {xp}", f"str {{t}}, [sp, #{_X_END_AT}]"])
    for size, count in shape.blocks:
        if count > 1:
            code.constant("t", count)
            code.op(f"str {{t}}, [sp, #{_BLOCKS_AT}]")
        with code.loop(f"next {size} outputs") as label:
            _block(code, shape, size)
            if count > 1:
                code.ops([f"ldr {{t}}, [sp, #{_BLOCKS_AT}]", "subs {t}, #1", f"str {{t}}, [sp, #{_BLOCKS_AT}]"])
                code.op(f"bne {label}")
    return code.function(f"void {name}(const int16_t *x, midge_s64 *sums, const int32_t *stream)")


def _block(code: Assembly, shape: Shape, size: int) -> None:
    """Some outputs: start values, all steps, and the sums to memory."""
    sums = "{{" + ", ".join(f"{{a{output}}}, {{b{output}}}" for output in range(size)) + "}}"
    code.op(f"ldmia {{wp}}!, {sums}", "start values")
    code.op(f"ldr {{xp}}, [sp, #{_X_AT}]")
    if shape.unroll == shape.steps:
        _steps(code, shape.unroll, size)
    else:
        with code.loop(f"next {shape.unroll} steps") as label:
            _steps(code, shape.unroll, size)
            code.ops([f"ldr {{t}}, [sp, #{_X_END_AT}]", "cmp {xp}, {t}", f"bne {label}"])
    code.ops([f"ldr {{t}}, [sp, #{_OUT_AT}]", f"stmia {{t}}!, {sums}", f"str {{t}}, [sp, #{_OUT_AT}]"])


def _steps(code: Assembly, count: int, size: int) -> None:
    for _ in range(count):
        code.ops(["ldr {x1}, [{xp}, #4]", "ldr {x0}, [{xp}], #8"])
        for output in range(size):
            code.op("ldr {w}, [{wp}], #4")
            for x, rotation in (("x0", ""), ("x1", ", ror #8")):
                code.ops([f"sxtb16 {{t}}, {{w}}{rotation}", f"smlald {{a{output}}}, {{b{output}}}, {{{x}}}, {{t}}"])
