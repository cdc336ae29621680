"""Assembly of depthwise convolutions on RV32M: blocks of up to eight neighbouring pixels of one channel.

Rows are planes, so that neighbours lie at constant offsets. An input is loaded once for all pixels that it is a tap of,
one column ahead of its use.

The stream holds for each channel: start value, weights row by row as bytes, parameters of requantisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly_rv32 import MOST_OFFSET, RiscvAssembly
from midge.kernels.base import Function
from midge.kernels.requantize_rv32 import Requantization, Scratch
from midge.kernels.view import Rows
from midge.kernels.window import Window

MOST_TAPS = 5
"""In a row, and in a column: each has a register."""
_MOST_PIXELS = 8
_SCRATCH = Scratch("m", "o", "third", "t", "limit")


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
    def most_pixels(self) -> int:
        """Pixels that there are registers for."""
        return _MOST_PIXELS - max(0, self.kh + self.kw - 8)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(pixels, how often), as even as can be."""
        count = -(-self.columns // self.most_pixels)
        large, small = -(-self.columns // count), self.columns // count
        more = self.columns - small * count
        return ((large, more), (small, count - more)) if more else ((small, count),)


def shape_of(window: Window, plane_bytes: int) -> Shape:
    return Shape(window.kh, window.kw, window.y.columns, window.stride_w, window.y.channels, plane_bytes)


def weight_stream(weights: np.ndarray, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [1, KH, KW, channels]."""
    taps = np.ascontiguousarray(weights.reshape(-1, weights.shape[-1]).T)
    taps = np.pad(taps, ((0, 0), (0, -taps.shape[1] % 4)))
    return np.concatenate(
        [requantization.starts[:, None].astype(np.int32), taps.view(np.int32), requantization.parameters], axis=1
    )


def function(name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> Function:
    """The function `void name(const int8_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, requantization, y, title).write()


class _Writer:
    """Frame: out of the channel, end of the stream, blocks left."""

    _OUT_AT, _END_AT, _BLOCKS_AT, _FRAME_BYTES = 0, 4, 8, 12

    def __init__(self, name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> None:
        self.shape, self.form, self.y = shape, requantization, y
        self.parameters_at = 4 + -(-shape.kh * shape.kw // 4) * 4
        self.channel_bytes = self.parameters_at + 4 * requantization.parameters.shape[1]
        self.starts_at_zero = not requantization.starts.any()
        self.pixels = max(pixels for pixels, _ in shape.blocks)
        registers = [
            *(f"r{row}" for row in range(shape.kh)), "wp", "out", "t", "x0", "x1",
            *(f"w{tap}" for tap in range(shape.kw)), "m", "o", "third", "limit", "start",
            *(f"a{pixel}" for pixel in range(self.pixels)),
        ]  # fmt: skip
        self.code = RiscvAssembly(name, title, registers, self._FRAME_BYTES)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.note("a0 rows, a1 out, a2 stream")
        code.ops([f"sw a1, {self._OUT_AT}(sp)", "mv t0, a0", "mv t1, a2"])
        code.ops([f"lw {{r{row}}}, {4 * row}(t0)" for row in range(shape.kh)])
        code.op("mv {wp}, t1")
        code.constant("t", self.channel_bytes * shape.channels)
        code.ops(["add {t}, {wp}, {t}", f"sw {{t}}, {self._END_AT}(sp)"])
        self.form.set_limit(code, _SCRATCH)
        with code.loop("next channel") as label:
            code.ops([f"lw {{out}}, {self._OUT_AT}(sp)"])
            self.form.load(code, "wp", self.parameters_at, _SCRATCH)
            if not self.starts_at_zero:
                code.op("lw {start}, 0({wp})")
            passed = 0
            for position, (pixels, count) in enumerate(shape.blocks):
                is_last = position == len(shape.blocks) - 1
                passed += self.blocks(pixels, count, is_last=is_last)
            code.ops([f"lw {{t}}, {self._OUT_AT}(sp)", f"lw {{x0}}, {self._END_AT}(sp)"])
            code.op("addi {t}, {t}, 1")
            code.op(f"sw {{t}}, {self._OUT_AT}(sp)")
            self.move(shape.plane_bytes - passed)
            code.add("wp", self.channel_bytes, "t")
            code.op(f"bne {{wp}}, {{x0}}, {label}")
        return code.function(f"void {code.name}(const int8_t *const *rows, void *out, const int32_t *stream)")

    def move(self, count: int) -> None:
        """All rows on by so many bytes."""
        code = self.code
        rows = [f"r{row}" for row in range(self.shape.kh)]
        if -MOST_OFFSET - 1 <= count <= MOST_OFFSET:
            for row in rows:
                code.add(row, count, "t")
            return
        code.constant("t", count)
        code.ops([f"add {{{row}}}, {{{row}}}, {{t}}" for row in rows])

    def blocks(self, pixels: int, count: int, *, is_last: bool) -> int:
        """Blocks of one size; returns by how many bytes the rows were moved."""
        code = self.code
        moves = count > 1 or not is_last
        with code.repeat(count, self._BLOCKS_AT, "t", f"next {pixels} pixels"):
            for row in range(self.shape.kh):
                self.row(row, pixels)
            self.results(pixels)
            if moves:
                self.move(pixels * self.shape.stride)
                code.add("out", pixels * self.y.pixel_bytes, "t")
        return pixels * count * self.shape.stride if moves else 0

    def row(self, row: int, pixels: int) -> None:
        """One row of taps."""
        code, shape = self.code, self.shape
        first_weight = 4 + row * shape.kw
        uses: list[tuple[int, list[tuple[int, int]]]] = []
        for column in range((pixels - 1) * shape.stride + shape.kw):
            taps = [(pixel, column - pixel * shape.stride) for pixel in range(pixels)]
            taps = [(pixel, tap) for pixel, tap in taps if 0 <= tap < shape.kw]
            if taps:
                uses.append((column, taps))
        code.op(f"lb {{x0}}, {uses[0][0]}({{r{row}}})", "row of taps")
        code.ops([f"lb {{w{tap}}}, {first_weight + tap}({{wp}})" for tap in range(shape.kw)])
        for index, (_, taps) in enumerate(uses):
            if index + 1 < len(uses):
                code.op(f"lb {{x{(index + 1) % 2}}}, {uses[index + 1][0]}({{r{row}}})")
            for pixel, tap in taps:
                is_first = row == 0 and tap == 0
                product = f"a{pixel}" if is_first else "t"
                code.op(f"mul {{{product}}}, {{x{index % 2}}}, {{w{tap}}}")
                if not is_first:
                    code.op(f"add {{a{pixel}}}, {{a{pixel}}}, {{t}}")
                elif not self.starts_at_zero:
                    code.op(f"add {{a{pixel}}}, {{a{pixel}}}, {{start}}")

    def results(self, pixels: int) -> None:
        """Scale the sums and store them."""
        for pixel in range(pixels):
            self.form.scale(self.code, f"a{pixel}", _SCRATCH)
            at = pixel * self.y.pixel_bytes
            if at <= MOST_OFFSET:
                self.code.op(f"sb {{a{pixel}}}, {at}({{out}})")
                continue
            self.code.constant("t", at)
            self.code.ops(["add {t}, {out}, {t}", f"sb {{a{pixel}}}, 0({{t}})"])
