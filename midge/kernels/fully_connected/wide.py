"""Assembly of fully connected layers on widened inputs: blocks of up to six outputs, weights read once, in order.

One step multiplies four inputs by four weights of each output of a block. The stream holds for each block: start
values, the words of all steps (w0 w2 w1 w3 of each output), then multiplier and offset of each output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.results_armv7em import Results

_ACCUMULATORS = ("a0", "a1", "a2", "a3", "a4", "a5")
_REGISTERS = {
    "xp": "r0", "wp": "r1", "w0": "r2", "w1": "r3", "a0": "r4", "a1": "r5", "a2": "r6", "a3": "r7", "a4": "r8",
    "a5": "r9", "x0": "r10", "x1": "r11", "w2": "r12", "t": "lr",
}  # fmt: skip
_WEIGHTS = ("w0", "w1", "w2")
_OUT_AT, _X_AT, _X_END_AT, _BLOCKS_AT, _FRAME_BYTES = 0, 4, 8, 12, 16
_STEP_BYTES = 136
"""Code of one step of the largest block."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on."""

    inputs: int
    outputs: int
    loop_bytes: int

    @property
    def steps(self) -> int:
        return -(-self.inputs // 4)

    @property
    def unroll(self) -> int:
        """Steps in the body of the loop."""
        most = max(1, min(8, self.loop_bytes // _STEP_BYTES))
        return next(n for n in range(min(most, self.steps), 0, -1) if self.steps % n == 0)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(outputs, how often): sixes, and the rest."""
        sixes, rest = divmod(self.outputs, len(_ACCUMULATORS))
        return tuple((size, count) for size, count in ((6, sixes), (rest, 1)) if size and count)


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Results) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, I]."""
    padded = np.pad(weights, ((0, 0), (0, 4 * shape.steps - shape.inputs)))
    steps = padded.reshape(len(weights), shape.steps, 4)[:, :, [0, 2, 1, 3]]
    words = np.ascontiguousarray(steps).view(np.int32).reshape(len(weights), shape.steps)
    starts, parameters = requantization.starts, requantization.parameters
    parts: list[np.ndarray] = []
    first = 0
    for size, count in shape.blocks:
        for _ in range(count):
            block = slice(first, first + size)
            parts += [starts[block], words[block].T.reshape(-1), parameters[block].reshape(-1)]
            first += size
    return np.concatenate(parts)


def function(name: str, shape: Shape, requantization: Results, title: str) -> Function:
    """The function `void name(const int16_t *x, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, requantization, title).write()


class _Writer:
    """Frame: out, x, end of the loop over x, blocks left."""

    def __init__(self, name: str, shape: Shape, requantization: Results, title: str) -> None:
        self.shape = shape
        self.form = requantization
        self.code = Assembly(name, title, _REGISTERS, _FRAME_BYTES)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.ops([f"str r1, [sp, #{_OUT_AT}]", "mov {wp}, r2", f"str {{xp}}, [sp, #{_X_AT}]"])
        if shape.unroll < shape.steps:
            code.constant("t", 8 * shape.steps)
            code.ops(["add {t}, {xp}", f"str {{t}}, [sp, #{_X_END_AT}]"])
        for size, count in shape.blocks:
            if count > 1:
                code.ops([f"mov {{t}}, #{count}", f"str {{t}}, [sp, #{_BLOCKS_AT}]"])
            with code.loop(f"next {size} outputs") as label:
                self.block(size)
                if count > 1:
                    code.ops([f"ldr {{t}}, [sp, #{_BLOCKS_AT}]", "subs {t}, #1", f"str {{t}}, [sp, #{_BLOCKS_AT}]"])
                    code.op(f"bne {label}")
        return code.function(f"void {code.name}(const int16_t *x, void *out, const int32_t *stream)")

    def block(self, size: int) -> None:
        code, shape = self.code, self.shape
        code.op("ldmia {wp}!, {{" + ", ".join(f"{{{acc}}}" for acc in _ACCUMULATORS[:size]) + "}}", "start values")
        code.op(f"ldr {{xp}}, [sp, #{_X_AT}]")
        if shape.unroll == shape.steps:
            self.steps(size)
        else:
            with code.loop(f"next {shape.unroll} steps") as label:
                self.steps(size)
                code.op(f"add {{xp}}, #{8 * shape.unroll}")
                code.ops([f"ldr {{t}}, [sp, #{_X_END_AT}]", "cmp {xp}, {t}", f"bne {label}"])
        self.store(size)

    def steps(self, size: int) -> None:
        code, shape = self.code, self.shape
        for step in range(shape.unroll):
            code.ops([f"ldr {{x0}}, [{{xp}}, #{8 * step}]", f"ldr {{x1}}, [{{xp}}, #{8 * step + 4}]"])
            for first in range(0, size, len(_WEIGHTS)):
                group = range(first, min(first + len(_WEIGHTS), size))
                for output in group:
                    code.op(f"ldr {{w{output - first}}}, [{{wp}}, #{4 * (step * size + output)}]")
                for output in group:
                    weight, acc = f"{{w{output - first}}}", f"{{a{output}}}"
                    code.ops([f"sxtb16 {{t}}, {weight}", f"smlad {acc}, {{x0}}, {{t}}, {acc}"])
                    code.ops([f"sxtb16 {{t}}, {weight}, ror #8", f"smlad {acc}, {{x1}}, {{t}}, {acc}"])
        code.add("wp", 4 * shape.unroll * size, "t")

    def store(self, size: int) -> None:
        code, form = self.code, self.form
        registers = ("x0", "x1", "w2")[: form.parameters.shape[1]]
        code.op(f"ldr {{t}}, [sp, #{_OUT_AT}]")
        bits = form.layout.fraction_bits
        for output in range(size):
            acc = _ACCUMULATORS[output]
            code.op("ldmia {wp}!, {{" + ", ".join(f"{{{name}}}" for name in registers) + "}}")
            form.scale(code, acc, registers[0], registers[min(1, len(registers) - 1)], registers[-1])
            if bits:
                code.op(f"lsl {{{acc}}}, #{bits}")
            width = form.layout.dtype.bytes
            code.op(f"{'strb' if width == 1 else 'strh'} {{{acc}}}, [{{t}}], #{width}")
        code.op(f"str {{t}}, [sp, #{_OUT_AT}]")
