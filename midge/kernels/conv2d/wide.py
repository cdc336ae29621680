"""Assembly of convolutions on widened rows: blocks of up to 3 pixels by 2 channels.

One step multiplies four inputs of each pixel by four weights of each channel:

    weights   w0 w2 w1 w3 | of the second channel      a word each, widened by SXTB16 to (w0, w1) and (w2, w3)
    inputs    (x0, x1) (x2, x3)                        widened already, two words for each pixel

Where a row of taps does not come out even, and where speed is worth twice the flash, a half step takes two inputs, and
a word holds two weights widened already.
The stream holds for each pair of channels: start values, the weights of all steps, multipliers and offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import Rows
from midge.kernels.window import Window

_REGISTERS = {
    "xp": "r0", "wp": "r1", "a0": "r4", "a1": "r5", "a2": "r6", "b0": "r7", "b1": "r8", "b2": "r9",
    "wa": "r2", "wb": "r3", "x0": "r10", "x1": "r11", "x2": "r12", "t": "lr",
}  # fmt: skip
_STEP_BYTES, _HALF_STEP_BYTES = 104, 48
"""Code of one step of the largest block."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code of a convolution depends on. All sizes in values unless they say bytes."""

    kh: int
    full_steps: int
    """Steps of four inputs in one row of taps."""
    half_steps: int
    """Steps of two inputs that follow them."""
    pixel_bytes: int
    """From a pixel's window to the next one's."""
    columns: int
    channels: int
    loop_bytes: int
    """Code that a loop may take before it runs slower than a shorter one would."""

    @property
    def run_words(self) -> int:
        """Words of weights of one row of taps."""
        return self.full_steps + self.half_steps

    @property
    def run_bytes(self) -> int:
        """Inputs that one row of taps reads."""
        return 8 * self.full_steps + 4 * self.half_steps

    def unroll(self, steps: int, step_bytes: int) -> int:
        """How many of `steps` steps are in the body of the innermost loop."""
        most = max(1, self.loop_bytes // step_bytes)
        return next((n for n in range(min(most, steps), 0, -1) if steps % n == 0), 0)

    @property
    def is_straight(self) -> bool:
        """All rows of taps are written out one after the other."""
        code_bytes = self.full_steps * _STEP_BYTES + self.half_steps * _HALF_STEP_BYTES
        return self.kh * code_bytes <= self.loop_bytes

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(pixels, how often): blocks of three, and of two where three do not come out even."""
        threes, rest = divmod(self.columns, 3)
        if rest == 1 and threes:
            threes, rest = threes - 1, 4
        twos, ones = divmod(rest, 2)
        return tuple((pixels, count) for pixels, count in ((3, threes), (2, twos), (1, ones)) if count)


def shape_of(window: Window, loop_bytes: int, weight_bits: int) -> Shape:
    """The shape of a convolution without groups or dilation along the row; weights of 8 bits, or widened to 16."""
    full, rest = divmod(window.kw * window.x.channels, 4)
    full, half = (full + 1, 0) if rest == 3 else (full, -(-rest // 2))
    if weight_bits == 16:
        full, half = 0, -(-window.kw * window.x.channels // 2)
    pixel_bytes = window.stride_w * window.x.channels * 2
    return Shape(window.kh, full, half, pixel_bytes, window.y.columns, window.y.channels, loop_bytes)


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, KH, KW, I]."""
    outputs, kh = weights.shape[:2]
    flat = weights.reshape(outputs, kh, -1)
    flat = np.pad(flat, ((0, 0), (0, 0), (0, shape.run_bytes // 2 - flat.shape[2])))
    full = flat[:, :, : 4 * shape.full_steps].reshape(outputs, kh, shape.full_steps, 4)[..., [0, 2, 1, 3]]
    half = flat[:, :, 4 * shape.full_steps :].astype(np.int16)
    parts_of_rows = [
        np.ascontiguousarray(part).view(np.int32).reshape(outputs, kh, -1) for part in (full, half) if part.size
    ]
    words = np.concatenate(parts_of_rows, axis=2).reshape(outputs, -1)
    starts = requantization.starts
    parameters = requantization.parameters
    parts: list[np.ndarray] = []
    for first in range(0, outputs, 2):
        pair = slice(first, min(first + 2, outputs))
        parts += [starts[pair], words[pair].T.reshape(-1), parameters[pair].reshape(-1)]
    return np.concatenate(parts)


def function(name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> Function:
    """The function `void name(const int16_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, requantization, y, title).write()


class _Writer:
    """Frame, from the stack pointer: row pointers, out, first word of the stream, row slot, end of run, blocks left."""

    def __init__(self, name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> None:
        self.shape = shape
        self.requantization = requantization
        self.y = y
        self.out_at = 4 * shape.kh
        self.stream_at, self.slot_at, self.end_at, self.blocks_at, self.pair_at, self.run_end_at = (
            self.out_at + 4 * i for i in range(1, 7)
        )  # fmt: skip
        self.is_first = False
        """The next products are the first of their accumulators."""
        frame = -(-(self.run_end_at + 4) // 8) * 8
        self.code = Assembly(name, title, _REGISTERS, frame)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        for row in range(shape.kh):
            code.op(f"ldr {{t}}, [r0, #{4 * row}]", "rows" if row == 0 else "")
            code.op(f"str {{t}}, [sp, #{4 * row}]")
        code.op(f"strd r1, r2, [sp, #{self.out_at}]", "out, stream")
        for position, (pixels, count) in enumerate(shape.blocks):
            self.blocks(pixels, count, is_last=position == len(shape.blocks) - 1)
        return code.function(f"void {code.name}(const int16_t *const *rows, void *out, const int32_t *stream)")

    def blocks(self, pixels: int, count: int, *, is_last: bool) -> None:
        """`count` blocks of `pixels` pixels."""
        code = self.code
        code.note(f"{count} blocks of {pixels} pixels" if count > 1 else f"one block of {pixels} pixels")
        if count > 1:
            code.ops([f"mov {{t}}, #{count}", f"str {{t}}, [sp, #{self.blocks_at}]"])
        with code.loop("next block") as label:
            self.block(pixels)
            if not is_last or count > 1:
                self.advance(pixels)
            if count > 1:
                code.ops([f"ldr {{t}}, [sp, #{self.blocks_at}]", "subs {t}, #1", f"str {{t}}, [sp, #{self.blocks_at}]"])
                code.op(f"bne {label}")

    def advance(self, pixels: int) -> None:
        """Rows and out to the next block."""
        code = self.code
        for row in range(self.shape.kh):
            code.op(f"ldr {{t}}, [sp, #{4 * row}]")
            code.add("t", pixels * self.shape.pixel_bytes, "x0")
            code.op(f"str {{t}}, [sp, #{4 * row}]")
        code.op(f"ldr {{t}}, [sp, #{self.out_at}]")
        code.add("t", pixels * self.y.pixel_bytes, "x0")
        code.op(f"str {{t}}, [sp, #{self.out_at}]")

    def block(self, pixels: int) -> None:
        """All channels of a block of pixels."""
        code, shape = self.code, self.shape
        code.op(f"ldrd {{t}}, {{wp}}, [sp, #{self.out_at}]")
        code.op(f"str {{t}}, [sp, #{self.pair_at}]", "where the next channels go")
        if shape.is_straight and shape.kh == 1:
            code.op("ldr {xp}, [sp]")
        pairs, single = divmod(shape.channels, 2)
        if pairs:
            if pairs > 1 or single:
                stream_bytes = pairs * 8 * (1 + shape.kh * shape.run_words + self.requantization.parameters.shape[1])
                code.constant("t", stream_bytes)
                code.ops(["add {t}, {wp}", f"str {{t}}, [sp, #{self.end_at}]"])
            with code.loop("next pair of channels") as label:
                self.channels(pixels, 2)
                if pairs > 1:
                    code.ops([f"ldr {{t}}, [sp, #{self.end_at}]", "cmp {wp}, {t}", f"bne {label}"])
        if single:
            self.channels(pixels, 1)

    def channels(self, pixels: int, channels: int) -> None:
        """One or two channels of a block."""
        code, shape = self.code, self.shape
        if channels == 2:
            code.op("ldrd {a0}, {b0}, [{wp}], #8", "start values")
        else:
            code.op("ldr {a0}, [{wp}], #4", "start value")
        self.is_first = shape.is_straight
        if not shape.is_straight:
            for pixel in range(1, pixels):
                code.ops([f"mov {{{name}{pixel}}}, {{{name}0}}" for name in "ab"[:channels]])
        if shape.is_straight:
            for row in range(shape.kh):
                if shape.kh > 1:
                    code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
                self.run(pixels, channels)
        elif shape.kh == 1:
            code.op("ldr {xp}, [sp]")
            self.run(pixels, channels)
        else:
            code.ops(["mov {t}, sp", f"str {{t}}, [sp, #{self.slot_at}]"])
            with code.loop("next row of taps") as label:
                code.ops(
                    [f"ldr {{t}}, [sp, #{self.slot_at}]", "ldr {xp}, [{t}], #4", f"str {{t}}, [sp, #{self.slot_at}]"]
                )
                self.run(pixels, channels)
                code.ops([f"ldr {{t}}, [sp, #{self.slot_at}]", f"add {{x0}}, sp, #{4 * shape.kh}", "cmp {t}, {x0}"])
                code.op(f"bne {label}")
        self.store(pixels, channels)

    def run(self, pixels: int, channels: int) -> None:
        """The steps of one row of taps."""
        shape = self.shape
        passed = self.steps(self.step, shape.full_steps, 8, 0, pixels, channels)
        self.steps(self.half_step, shape.half_steps, 4, passed, pixels, channels)

    def steps(self, write: Callable[[int, int, int], None], count: int, size: int, passed: int, pixels: int,
              channels: int) -> int:  # fmt: skip
        """Steps of `size` bytes of inputs, straight or in a loop; returns where the inputs after them are from `xp`."""
        code = self.code
        unroll = self.shape.unroll(count, _STEP_BYTES if size == 8 else _HALF_STEP_BYTES)
        if unroll == count:
            for step in range(count):
                write(pixels, channels, passed + size * step)
            return passed + size * count
        code.constant("t", size * count)
        code.ops(["add {t}, {xp}", f"str {{t}}, [sp, #{self.run_end_at}]"])
        with code.loop(f"next {unroll} steps") as label:
            for step in range(unroll):
                write(pixels, channels, passed + size * step)
            code.op(f"add {{xp}}, #{size * unroll}")
            code.ops([f"ldr {{t}}, [sp, #{self.run_end_at}]", "cmp {xp}, {t}", f"bne {label}"])
        return passed

    def step(self, pixels: int, channels: int, offset: int) -> None:
        """Four inputs of each pixel by four weights of each channel."""
        code = self.code
        names = "ab"[:channels]
        if channels == 2:
            code.ops(["ldr {wa}, [{wp}], #8", "ldr {wb}, [{wp}, #-4]"])
        else:
            code.op("ldr {wa}, [{wp}], #4")
        for half, rotation in ((0, ""), (4, ", ror #8")):
            for pixel in range(pixels):
                code.op(f"ldr {{x{pixel}}}, [{{xp}}, #{offset + half + pixel * self.shape.pixel_bytes}]")
            for name in names:
                widened = "t" if half == 0 else f"w{name}"
                code.op(f"sxtb16 {{{widened}}}, {{w{name}}}{rotation}")
                self.products(name, pixels, widened)
            self.is_first = False

    def half_step(self, pixels: int, channels: int, offset: int) -> None:
        """Two inputs of each pixel by two weights of each channel."""
        code = self.code
        code.ops(["ldr {wa}, [{wp}], #8", "ldr {wb}, [{wp}, #-4]"] if channels == 2 else ["ldr {wa}, [{wp}], #4"])
        for pixel in range(pixels):
            code.op(f"ldr {{x{pixel}}}, [{{xp}}, #{offset + pixel * self.shape.pixel_bytes}]")
        for name in "ab"[:channels]:
            self.products(name, pixels, f"w{name}")
        self.is_first = False

    def products(self, name: str, pixels: int, weights: str) -> None:
        """A pair of products for each pixel; the first add to the start value, which lies in pixel 0's register."""
        for pixel in reversed(range(pixels)):
            source = 0 if self.is_first else pixel
            self.code.op(f"smlad {{{name}{pixel}}}, {{x{pixel}}}, {{{weights}}}, {{{name}{source}}}")

    def store(self, pixels: int, channels: int) -> None:
        """Scale the accumulators and store the results."""
        code, form = self.code, self.requantization
        names = ("wa", "wb", "x0", "x1", "x2", "t")
        count = form.parameters.shape[1]
        registers = names[: channels * count]
        code.op("ldmia {wp}!, {{" + ", ".join(f"{{{name}}}" for name in registers) + "}}", "multipliers, offsets")
        for index, name in enumerate("ab"[:channels]):
            own = registers[index * count : (index + 1) * count]
            for pixel in range(pixels):
                form.scale(code, f"{name}{pixel}", own[0], own[1], own[-1])
        code.op(f"ldr {{t}}, [sp, #{self.pair_at}]")
        if form.layout.planes:
            self._store_planes(pixels, channels)
        elif form.layout.fraction_bits is not None:
            self._store_wide(pixels, channels)
        else:
            self._store_each("strb", pixels, channels, self.y.pixel_bytes, 1)
            code.op(f"add {{t}}, #{channels}")
        code.op(f"str {{t}}, [sp, #{self.pair_at}]")

    def _store_each(self, store: str, pixels: int, channels: int, pixel_bytes: int, channel_bytes: int) -> None:
        for pixel in range(pixels):
            for index, name in enumerate("ab"[:channels]):
                at = pixel * pixel_bytes + index * channel_bytes
                self.code.op(f"{store} {{{name}{pixel}}}, [{{t}}, #{at}]")

    def _store_wide(self, pixels: int, channels: int) -> None:
        code, bits = self.code, self.requantization.layout.fraction_bits
        for pixel in range(pixels):
            at = pixel * self.y.pixel_bytes
            if channels == 2 and self.requantization.low == 0:
                code.op(f"pkhbt {{a{pixel}}}, {{a{pixel}}}, {{b{pixel}}}, lsl #16", "two values, none negative")
                code.op(f"lsl {{a{pixel}}}, #{bits}")
                code.op(f"str {{a{pixel}}}, [{{t}}, #{at}]")
                continue
            for index, name in enumerate("ab"[:channels]):
                code.op(f"lsl {{{name}{pixel}}}, #{bits}")
                code.op(f"strh {{{name}{pixel}}}, [{{t}}, #{at + 2 * index}]")
        code.op(f"add {{t}}, #{2 * channels}")

    def _store_planes(self, pixels: int, channels: int) -> None:
        code, plane, bytes_ = self.code, self.y.plane_bytes, self.y.dtype.bytes
        for name in "ab"[:channels]:
            for pixel in range(pixels):
                code.op(f"{'strb' if bytes_ == 1 else 'strh'} {{{name}{pixel}}}, [{{t}}, #{pixel * bytes_}]")
            code.add("t", plane, "x0")


def reaches_far(shape: Shape, y_pixel_bytes: Sequence[int]) -> bool:
    """True where an offset would leave the 12 bits of a load or store."""
    most = shape.run_bytes + 2 * shape.pixel_bytes
    return max(most, *(2 * size + 4 for size in y_pixel_bytes)) > 4095
