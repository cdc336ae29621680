"""Assembly of convolutions and fully connected layers on RV32M: blocks of up to six pixels by a group of channels.

One step loads an input of each pixel; each word of weights (`packing_rv32`) is loaded once for all pixels, multiplied
and added. A load stands at least one instruction ahead of what uses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly_rv32 import MOST_OFFSET, REGISTERS, RiscvAssembly
from midge.kernels.base import Function
from midge.kernels.packing_armv6m import Coding
from midge.kernels.packing_rv32 import GROUPS, Weights, pack
from midge.kernels.requantize_rv32 import Requantization, Scratch
from midge.kernels.sums_rv32 import Places, Sums
from midge.kernels.view import Rows
from midge.kernels.window import Window

MOST_TAP_ROWS = 60
_MOST_PIXELS = 6
_STRAIGHT_TAPS = 12
"""Rows of taps are written out one after the other where they have no more taps together."""
_UNROLLED_PRODUCTS, _RARE_PRODUCTS = 100, 32
"""In the body of a loop: of most channels, and of those past the last full group."""
_RESULT_CYCLES, _SEGMENT_CYCLES, _GROUP_CYCLES = 18, 8, 50
"""Of a value, of each of its segments but the last, and of a group."""
_OTHERS = 4
"""Registers besides sums and inputs: two pointers, a weight, a product."""
_RESULTS = 4
"""Registers that results need besides; those of inputs are free then."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. A pixel's inputs are `kh` runs of `run` bytes."""

    kh: int
    run: int
    pixel_bytes: int
    """From a pixel's window to the next one's."""
    columns: int

    def blocks(self, words: int) -> tuple[tuple[int, int], ...]:
        """(pixels, how often), as even as can be, for groups of so many words."""
        registers = (len(REGISTERS) - _OTHERS) // (words + 1)
        reach = 1 + (MOST_OFFSET - _MOST_UNROLLED) // max(self.pixel_bytes, 1)
        most = max(1, min(_MOST_PIXELS, registers, reach, self.columns))
        count = -(-self.columns // most)
        large, small = -(-self.columns // count), self.columns // count
        more = self.columns - small * count
        return ((large, more), (small, count - more)) if more else ((small, count),)

    @property
    def is_straight(self) -> bool:
        return self.kh == 1 or self.kh * self.run <= _STRAIGHT_TAPS


_MOST_UNROLLED = 32


def shape_of(window: Window) -> Shape:
    """The shape of a convolution without groups or dilation along the row."""
    return Shape(window.kh, window.kw * window.x.channels, window.stride_w * window.x.channels, window.y.columns)


def packed(weights: np.ndarray, starts: np.ndarray, shape: Shape) -> Weights | None:
    """Weights [channels, taps] packed in the groups that are faster for this shape; None where sums are too wide."""
    found = [pack(weights, starts, shape.kh, group) for group in GROUPS]
    return min((one for one in found if one is not None), key=lambda one: estimate(one, shape), default=None)


def estimate(weights: Weights, shape: Shape) -> float:
    """About how many cycles a row takes."""
    cycles = 0.0
    for pixels, blocks in shape.blocks(max(coding.words for coding, _ in weights.codings)):
        for coding, groups in weights.codings:
            step = coding.words + pixels + 2 * coding.words * pixels
            values = pixels * coding.channels * (_RESULT_CYCLES + _SEGMENT_CYCLES * (weights.segments - 1))
            cycles += blocks * groups * (shape.kh * shape.run * step + values + _GROUP_CYCLES)
    return cycles


def function(name: str, shape: Shape, weights: Weights, requantization: Requantization, y: Rows, title: str
             ) -> Function:  # fmt: skip
    """The function `void name(const int8_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, weights, requantization, y, title).write()


def _unrolled(count: int, most: int) -> int:
    """How many of `count` steps are in the body of a loop: a divisor, if there is one that is not too small."""
    if count <= most:
        return count
    return next((steps for steps in range(most, most // 2, -1) if count % steps == 0), most)


class _Writer:
    """Frame: row pointers, out, stream, out of the group, row slot, end of the run, counts, sums of segments."""

    def __init__(self, name: str, shape: Shape, weights: Weights, requantization: Requantization, y: Rows,
                 title: str) -> None:  # fmt: skip
        self.shape, self.weights, self.form, self.y = shape, weights, requantization, y
        words = max(coding.words for coding, _ in weights.codings)
        self.blocks = shape.blocks(words)
        self.pixels = max(pixels for pixels, _ in self.blocks)
        self.most_groups = max(count for _, count in weights.codings)
        slots = iter(range(4 * shape.kh, 4 * shape.kh + 64, 4))
        (self.out_at, self.stream_at, self.group_at, self.row_at, self.end_at, self.blocks_at, self.groups_at,
         self.rows_at, self.parts_at, self.sums_at) = (next(slots) for _ in range(10))  # fmt: skip
        channels = max(coding.channels for coding, _ in weights.codings)
        sums = 4 * channels * self.pixels if weights.segments > 1 else 0
        inputs = [f"x{pixel}" for pixel in range(self.pixels)]
        sums_of_words = [f"a{word}_{pixel}" for word in range(words) for pixel in range(self.pixels)]
        spares = [f"f{index}" for index in range(max(0, _RESULTS - self.pixels))]
        registers = ["xp", "wp", "w", *inputs, "t", *sums_of_words, *spares]
        multiplier, offset, third, held = (*inputs, *spares)[:_RESULTS]
        self.places = Places(Scratch(multiplier, offset, third, "t", "w"), held, self.group_at, self.sums_at, y)
        self.code = RiscvAssembly(name, title, registers, self.sums_at + sums)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.note("a0 rows, a1 out, a2 stream")
        code.ops([f"sw a1, {self.out_at}(sp)", f"sw a2, {self.stream_at}(sp)"])
        for row in range(shape.kh):
            code.ops([f"lw {{t}}, {4 * row}(a0)", f"sw {{t}}, {4 * row}(sp)"])
        for position, (pixels, count) in enumerate(self.blocks):
            is_last = position == len(self.blocks) - 1
            with code.repeat(count, self.blocks_at, "t", f"next {pixels} pixels"):
                self.block(pixels)
                if count > 1 or not is_last:
                    for row in range(shape.kh):
                        code.add_in_frame(4 * row, pixels * shape.pixel_bytes, "t", "w")
                    code.add_in_frame(self.out_at, pixels * self.y.pixel_bytes, "t", "w")
        return code.function(f"void {code.name}(const int8_t *const *rows, void *out, const int32_t *stream)")

    def block(self, pixels: int) -> None:
        """All channels of a block of pixels."""
        code = self.code
        code.ops([f"lw {{t}}, {self.out_at}(sp)", f"lw {{wp}}, {self.stream_at}(sp)",
                  f"sw {{t}}, {self.group_at}(sp)"])  # fmt: skip
        for coding, count in self.weights.codings:
            with code.repeat(count, self.groups_at, "t", f"next {coding.channels} channels"):
                _Group(self, coding, pixels, is_rare=count < self.most_groups).write()


class _Group(Sums):
    """A group of channels of a block of pixels."""

    def __init__(self, writer: _Writer, coding: Coding, pixels: int, *, is_rare: bool) -> None:
        """`is_rare`: others take nearly all of the time, so that short code is worth more than fast code."""
        weights = writer.weights
        super().__init__(writer.code, writer.form, coding, pixels, weights.segments, writer.places)
        self.writer, self.shape, self.weights = writer, writer.shape, weights
        self.word_bytes = weights.word_bytes
        self.is_rare = is_rare
        self.load = "lw" if self.word_bytes == 4 else "lb"

    def write(self) -> None:
        """All products, then the results.

        The sums of all segments but the last are kept in the frame.
        """
        segmentation, kh, segments = self.weights.segmentation, self.shape.kh, self.weights.segments
        if segments == 1:
            self.start()
            self.rows(kh, lambda: self.taps(self.shape.run))
            self.round_up()
        elif kh == 1:
            self.code.op("lw {xp}, 0(sp)")
            first, last = self.weights.ends[0], self.weights.ends[-1] - self.weights.ends[-2]
            if first == last:
                self.equal_segments(segments, lambda: self.taps(first))
            else:
                self.segments(segments, lambda: self.taps(first), lambda: self.taps(last))
        else:
            self.first_row()
            if segmentation.parts > 1:
                self.segments_of_rows()
                return
            self.equal_segments(segments, self.rows_of_segment)
        self.results()

    def rows_of_segment(self) -> None:
        """The products of the next rows of taps."""
        self.row_loop(self.weights.segmentation.rows, lambda: self.taps(self.shape.run))

    def equal_segments(self, count: int, products: Callable[[], None]) -> None:
        """All segments by the same code; the last one's sums stay in their words."""
        code, slot = self.code, self.writer.parts_at
        if count > 2:
            self.clear()
        code.constant("t", count)
        code.op(f"sw {{t}}, {slot}(sp)")
        end = code.new_label()
        with code.loop("next segment") as label:
            self.start()
            products()
            code.ops([f"lw {{t}}, {slot}(sp)", "addi {t}, {t}, -1", f"sw {{t}}, {slot}(sp)", f"beqz {{t}}, {end}"])
            self.collect(adds=count > 2)
            code.op(f"j {label}")
        code.place(end, "that was the last segment")

    def segments(self, count: int, products: Callable[[], None], last_products: Callable[[], None]) -> None:
        """All segments, of which the last is shorter; its sums stay in their words."""
        if count > 2:
            self.clear()
        with self.code.repeat(count - 1, self.writer.parts_at, "t", "next segment"):
            self.start()
            products()
            self.collect(adds=count > 2)
        self.start()
        last_products()

    def segments_of_rows(self) -> None:
        """Rows of several segments each, and the results."""
        parts = self.weights.segmentation.parts
        self.clear()
        with self.code.repeat(self.shape.kh, self.writer.rows_at, "t", "next row of taps"):
            self.next_row()
            with self.code.repeat(parts, self.writer.parts_at, "t", "next segment"):
                self.start()
                self.taps(self.shape.run // parts)
                self.collect(adds=True)
        self.results_of_segments()

    def clear(self) -> None:
        """The sums in the frame to zero."""
        slots = range(self.coding.channels * self.pixels)
        self.code.ops([f"sw zero, {self.writer.sums_at + 4 * slot}(sp)" for slot in slots])

    def start(self) -> None:
        """Sums begin at the start words."""
        words = range(self.coding.words)
        self.code.ops([f"lw {{a{word}_0}}, {4 * word}({{wp}})" for word in words])
        self.code.add("wp", 4 * self.coding.words, "t")
        for pixel in range(1, self.pixels):
            self.code.ops([f"mv {{a{word}_{pixel}}}, {{a{word}_0}}" for word in words])

    def rows(self, count: int, body: Callable[[], None]) -> None:
        """The body for each row of taps, with `xp` at its first input."""
        code = self.code
        if self.shape.is_straight:
            for row in range(count):
                code.op(f"lw {{xp}}, {4 * row}(sp)")
                body()
            return
        self.first_row()
        self.row_loop(count, body)

    def first_row(self) -> None:
        """The next row of taps is the first one."""
        self.code.ops(["mv {t}, sp", f"sw {{t}}, {self.writer.row_at}(sp)"])

    def next_row(self) -> None:
        """`xp` to the first input of the next row of taps."""
        slot = self.writer.row_at
        self.code.op(f"lw {{t}}, {slot}(sp)")
        self.code.ops(["lw {xp}, 0({t})", "addi {t}, {t}, 4", f"sw {{t}}, {slot}(sp)"])

    def row_loop(self, count: int, body: Callable[[], None]) -> None:
        """The body for the next rows of taps."""
        with self.code.repeat(count, self.writer.rows_at, "t", "next row of taps"):
            self.next_row()
            body()

    def taps(self, count: int) -> None:
        """So many neighbouring inputs; `xp` and `wp` end behind them."""
        code = self.code
        products = _RARE_PRODUCTS if self.is_rare else _UNROLLED_PRODUCTS
        most = max(1, min(_MOST_UNROLLED, products // (self.coding.words * self.pixels)))
        unroll = _unrolled(count, most)
        turns = count // unroll
        if turns > 1:
            code.constant("t", turns * unroll)
            code.ops(["add {t}, {xp}, {t}", f"sw {{t}}, {self.writer.end_at}(sp)"])
            with code.loop(f"next {unroll} inputs") as label:
                self.steps(unroll)
                code.ops([f"lw {{t}}, {self.writer.end_at}(sp)"])
                self.move(unroll)
                code.op(f"bne {{xp}}, {{t}}, {label}")
            count -= turns * unroll
        if count:
            self.steps(count)
            self.move(count)

    def move(self, steps: int) -> None:
        """Both pointers past so many steps."""
        self.code.add("wp", steps * self.coding.words * self.word_bytes, "w")
        self.code.add("xp", steps, "w")

    def steps(self, count: int) -> None:
        """Products of so many inputs of each pixel, straight."""
        code, words = self.code, self.coding.words
        code.op(f"{self.load} {{w}}, 0({{wp}})")
        self.load_inputs(0)
        for step in range(count):
            for word in range(words):
                for pixel in range(self.pixels):
                    code.op(f"mul {{t}}, {{x{pixel}}}, {{w}}")
                    if pixel == self.pixels - 1:
                        self.load_ahead(step, word, count)
                    code.op(f"add {{a{word}_{pixel}}}, {{a{word}_{pixel}}}, {{t}}")

    def load_ahead(self, step: int, word: int, count: int) -> None:
        """The weights that are needed next, and with them the inputs."""
        index = step * self.coding.words + word + 1
        if index < count * self.coding.words:
            self.code.op(f"{self.load} {{w}}, {index * self.word_bytes}({{wp}})")
            if word == self.coding.words - 1:
                self.load_inputs(step + 1)

    def load_inputs(self, step: int) -> None:
        for pixel in range(self.pixels):
            self.code.op(f"lb {{x{pixel}}}, {step + pixel * self.shape.pixel_bytes}({{xp}})")

    def round_up(self) -> None:
        """`wp` to the word after a segment's weights."""
        passed = self.weights.ends[-1] * self.coding.words * self.word_bytes
        self.code.add("wp", -passed % 4, "t")
