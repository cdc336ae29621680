"""Assembly of depthwise convolutions on Armv6-M: blocks of up to six neighbouring pixels of one channel.

Rows are planes of unsigned bytes, so that neighbours lie at constant offsets. An input is loaded once for all pixels
that it is a tap of; a row of taps' weights are in low registers, sums in r8 to lr.

The stream holds for each channel: start value, weights row by row, parameters of requantisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly_armv6m import ThumbAssembly
from midge.kernels.base import Function
from midge.kernels.requantize_armv6m import Requantization
from midge.kernels.view import Rows
from midge.kernels.window import Window

MOST_TAPS = 3
"""In a row: each needs a low register."""
MOST_TAP_ROWS = 60
_MOST_PIXELS = 6
_REACH = 32
"""Bytes that a base register reaches."""
_REGISTERS = {
    "p": "r0", "wp": "r1", "w0": "r2", "w1": "r3", "w2": "r4", "x": "r5", "t": "r6", "at": "r7",
    "a0": "r8", "a1": "r9", "a2": "r10", "a3": "r11", "a4": "r12", "a5": "lr",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on."""

    kh: int
    kw: int
    columns: int
    stride: int
    channels: int
    plane_bytes: int

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(pixels, how often)."""
        most = min(_MOST_PIXELS, 1 + (_REACH - self.kw) // self.stride, self.columns)
        count = -(-self.columns // most)
        size = -(-self.columns // count)
        full, rest = divmod(self.columns, size)
        return ((size, full), (rest, 1)) if rest else ((size, full),)


def shape_of(window: Window, plane_bytes: int) -> Shape:
    return Shape(window.kh, window.kw, window.y.columns, window.stride_w, window.y.channels, plane_bytes)


def weight_stream(weights: np.ndarray, starts: np.ndarray, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [1, KH, KW, channels]."""
    taps = weights.reshape(-1, weights.shape[-1]).T
    return np.concatenate([starts[:, None], taps, requantization.parameters], axis=1).astype(np.int32)


def function(name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> Function:
    """The function `void name(const uint8_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, requantization, y, title).write()


class _Writer:
    """Frame: rows, out of the channel, out of the block, end of the stream, blocks left."""

    def __init__(self, name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> None:
        self.shape = shape
        self.form = requantization
        self.y = y
        self.parameter_words = requantization.parameters.shape[1]
        self.out_at, self.now_at, self.end_at, self.blocks_at = (4 * (shape.kh + i) for i in range(4))
        self.code = ThumbAssembly(name, title, _REGISTERS, 4 * (shape.kh + 4 + shape.kh % 2))

    @property
    def stream_bytes(self) -> int:
        """Of one channel."""
        return 4 * (1 + self.shape.kh * self.shape.kw + self.parameter_words)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        for row in range(shape.kh):
            code.ops(["ldmia r0!, {{r3}}", f"str r3, [sp, #{4 * row}]"])
        code.ops([f"str r1, [sp, #{self.out_at}]", "mov {wp}, r2"])
        code.constant("t", self.stream_bytes * shape.channels)
        code.ops(["adds {t}, {wp}, {t}", f"str {{t}}, [sp, #{self.end_at}]", "movs {at}, #0"])
        is_single = len(shape.blocks) == 1 and shape.blocks[0][1] == 1
        with code.repeat("next channel"):
            passed = 0
            code.op(f"ldr {{p}}, [sp, #{self.out_at}]")
            if not is_single:
                code.op(f"str {{p}}, [sp, #{self.now_at}]")
            code.ops(["adds {p}, #1", f"str {{p}}, [sp, #{self.out_at}]"])
            for position, (pixels, count) in enumerate(shape.blocks):
                self.blocks(pixels, count, is_single=is_single, is_last=position == len(shape.blocks) - 1)
                passed += 0 if is_single else pixels * count * shape.stride
            code.add("at", shape.plane_bytes - passed, "t")
            code.ops([f"ldr {{t}}, [sp, #{self.end_at}]", "cmp {wp}, {t}"])
        return code.function(f"void {code.name}(const uint8_t *const *rows, void *out, const int32_t *stream)")

    def blocks(self, pixels: int, count: int, *, is_single: bool, is_last: bool) -> None:
        """Blocks of one size."""
        code = self.code
        if count == 1:
            self.block(pixels, is_single=is_single)
            if not is_single:
                code.add("at", pixels * self.shape.stride, "t")
            if not is_last:
                code.add("wp", -self.stream_bytes, "t")
            return
        code.ops([f"movs {{t}}, #{count}", f"str {{t}}, [sp, #{self.blocks_at}]"])
        with code.repeat(f"next {pixels} pixels"):
            self.block(pixels, is_single=False)
            code.add("at", pixels * self.shape.stride, "t")
            code.add("wp", -self.stream_bytes, "t")
            code.ops([f"ldr {{t}}, [sp, #{self.blocks_at}]", "subs {t}, #1", f"str {{t}}, [sp, #{self.blocks_at}]"])
        if is_last:
            code.add("wp", self.stream_bytes, "t")

    def block(self, pixels: int, *, is_single: bool) -> None:
        code = self.code
        code.op("ldmia {wp}!, {{{x}}}", "start value")
        code.ops([f"mov {{a{pixel}}}, {{x}}" for pixel in range(pixels)])
        names = ", ".join(f"{{w{tap}}}" for tap in range(self.shape.kw))
        for row in range(self.shape.kh):
            code.op(f"ldr {{p}}, [sp, #{4 * row}]", "row")
            code.ops(["adds {p}, {p}, {at}", f"ldmia {{wp}}!, {{{{{names}}}}}"])
            self.row(pixels)
        if is_single:
            code.ops([f"ldr {{p}}, [sp, #{self.out_at}]", "subs {p}, #1"])
        else:
            code.op(f"ldr {{p}}, [sp, #{self.now_at}]")
        self.results(pixels)
        if not is_single:
            code.op(f"str {{p}}, [sp, #{self.now_at}]")

    def row(self, pixels: int) -> None:
        """One row of taps."""
        code, shape = self.code, self.shape
        for column in range((pixels - 1) * shape.stride + shape.kw):
            uses = [(pixel, column - pixel * shape.stride) for pixel in range(pixels)]
            uses = [(pixel, tap) for pixel, tap in uses if 0 <= tap < shape.kw]
            if not uses:
                continue
            code.op(f"ldrb {{x}}, [{{p}}, #{column}]")
            for pixel, tap in uses[:-1]:
                code.ops([f"movs {{t}}, {{w{tap}}}", "muls {t}, {x}, {t}", f"add {{a{pixel}}}, {{t}}"])
            pixel, tap = uses[-1]
            code.ops([f"muls {{x}}, {{w{tap}}}, {{x}}", f"add {{a{pixel}}}, {{x}}"])

    def results(self, pixels: int) -> None:
        """Scale the sums and store them; leaves `p` behind the last."""
        code, form = self.code, self.form
        registers = ("w0", "w1", "w2", "t")
        if form.is_plain:
            code.op("ldmia {wp}!, {{{w0}, {w1}, {w2}}}")
        passed = 0
        for pixel in range(pixels):
            code.op(f"mov {{x}}, {{a{pixel}}}")
            if form.is_plain:
                form.apply(code, "x", registers)
            else:
                form.scale(code, "x", "wp", registers)
                if pixel < pixels - 1:
                    code.op(f"subs {{wp}}, #{4 * self.parameter_words}")
            at = pixel * self.y.pixel_bytes
            if at - passed > 31:
                code.add("p", at - passed, "t")
                passed = at
            code.op(f"strb {{x}}, [{{p}}, #{at - passed}]")
        code.add("p", pixels * self.y.pixel_bytes - passed, "t")
