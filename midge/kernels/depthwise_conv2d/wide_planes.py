"""Assembly of depthwise convolutions on widened rows in planes: blocks of neighbouring pixels of one channel.

A word brings two neighbours. Where two taps of a pixel are such a pair, `SMLAD` does both; the tap that is left over is
a half of a word. So a row of three taps takes two products for each pixel, whether it lies at an even place or not: the
weights of a row are there in pairs from the first tap on, and, for pixels at odd places, from the second on. Beside
int8 they are shifted left by eight bits, which requantisation wants and 16 bits have room for.

The stream holds for each channel: start value, pairs of weights row by row, multiplier, offset (and lowering).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.depthwise_conv2d.order import Load, Order, Product
from midge.kernels.results_armv7em import Results
from midge.kernels.view import Rows
from midge.kernels.window import Window

FRACTION_BITS = 8
MOST_MULTIPLIER = 4
_POINTER_ROWS = 3
"""Rows whose pointers are in registers; where there are more, they lie on the stack, and `at` is added to each."""
_MOST_PIXELS = 6
_OUT_AT, _END_AT, _BLOCKS_END_AT, _ROWS_AT = 0, 4, 8, 12
_NUMBERS = (*(f"r{number}" for number in range(13)), "lr")
_FARTHEST = 255
"""An offset that is negative, or that is written back, has eight bits."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. `pairs_loads`: the core issues a load beside a multiplication, so they alternate."""

    kh: int
    kw: int
    columns: int
    stride: int
    dilation: int
    channels: int
    multiplier: int
    plane_bytes: int
    parameter_words: int
    pairs_loads: bool

    @property
    def pairs(self) -> tuple[tuple[int, int | None], ...]:
        """The taps of each word of a row's weights."""
        even = [(tap, tap + 1 if tap + 1 < self.kw else None) for tap in range(0, self.kw, 2)]
        if self.dilation > 1 or self.stride % 2 == 0 or self.columns == 1 or self.kw == 1:
            return tuple(even)
        odd = [(tap, tap + 1) for tap in range(1, self.kw - 1, 2)]
        return tuple(pair for pair in even if pair[1] is not None) + tuple(odd)

    @property
    def base_registers(self) -> int:
        """Registers of the stream, and of the rows."""
        return 1 + (self.kh if self.kh <= _POINTER_ROWS else 2)

    @property
    def most_pixels(self) -> int:
        """In a block: what registers are left beside a row's weights and two words of inputs, and beside parameters."""
        left = len(_NUMBERS) - self.base_registers
        return min(_MOST_PIXELS, left - len(self.pairs) - 2, left - self.parameter_words - 2)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(pixels, how often): of even sizes, so that words stay aligned, and the rest."""
        most = self.most_pixels
        if self.columns <= most:
            return ((self.columns, 1),)
        count = -(-self.columns // (most - most % 2 or 1))
        size = min(most, 2 * -(-self.columns // (2 * count)))
        full, rest = divmod(self.columns, size)
        return ((size, full), (rest, 1)) if rest else ((size, full),)


def shape_of(window: Window, plane_bytes: int, requantization: Results, *, pairs_loads: bool) -> Shape:
    return Shape(
        window.kh, window.kw, window.y.columns, window.stride_w, window.dilation_w, window.x.channels,
        window.y.channels // window.x.channels, plane_bytes,
        requantization.parameters.shape[1], pairs_loads,
    )  # fmt: skip


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Results, fraction_bits: int) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [1, KH, KW, channels], shifted by `fraction_bits`."""
    taps = weights[0].astype(np.int32) << fraction_bits  # [rows, taps, channels]
    words = []
    for low, high in shape.pairs:
        top = 0 if high is None else taps[:, high] << 16
        words.append((taps[:, low] & 0xFFFF) | top)
    rows = np.stack(words, axis=1).reshape(shape.kh * len(words), -1)
    return np.concatenate([requantization.starts[None], rows, requantization.parameters.T]).T.astype(np.int32)


def function(name: str, shape: Shape, requantization: Results, y: Rows, title: str) -> Function:
    """The function `void name(const int16_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, requantization, y, title).write()


class _Writer:
    """Frame: out, end of the stream, end of a row's equal blocks, and pointers to more than three rows."""

    def __init__(self, name: str, shape: Shape, requantization: Results, y: Rows, title: str) -> None:
        self.shape = shape
        self.form = requantization
        self.y = y
        self.has_pointers = shape.kh <= _POINTER_ROWS
        self.bases = [f"p{row}" for row in range(shape.kh)] if self.has_pointers else ["p", "at"]
        is_single = shape.blocks[0][1] == 1 and len(shape.blocks) == 1
        self.keeps_out = is_single and shape.blocks[0][0] < shape.most_pixels
        named = ["wp", *self.bases, *(["out"] if self.keeps_out else [])]
        self.free = [f"v{index}" for index in range(len(_NUMBERS) - len(named))]
        self.words = 1 + shape.kh * len(shape.pairs) + requantization.parameters.shape[1]
        # The rows come in r0, out in r1, the stream in r2.
        registers = dict(zip([*self.free, *reversed(named)], _NUMBERS, strict=True))
        frame_bytes = _ROWS_AT + 4 * (0 if self.has_pointers else shape.kh)
        self.code = Assembly(name, title, registers, frame_bytes + frame_bytes % 8)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.op("mov {out}, r1" if self.keeps_out else f"str r1, [sp, #{_OUT_AT}]")
        code.op("mov {wp}, r2")
        if self.has_pointers:
            code.ops([f"ldr {{p{row}}}, [r0, #{4 * row}]" for row in range(shape.kh)])
        else:
            for row in range(shape.kh):
                code.ops([f"ldr r3, [r0, #{4 * row}]", f"str r3, [sp, #{_ROWS_AT + 4 * row}]"])
            code.op("mov {at}, #0")
        code.constant("v3", 4 * self.words * shape.channels * shape.multiplier)
        code.ops(["add {v3}, {wp}", f"str {{v3}}, [sp, #{_END_AT}]"])
        with code.loop("next channel") as label:
            for copy in range(shape.multiplier):
                end = self.channel(shape.plane_bytes if copy == shape.multiplier - 1 else 0)
            code.ops([f"cmp {{wp}}, {{{end}}}", f"bne {label}"])
        return code.function(f"void {code.name}(const int16_t *const *rows, void *out, const int32_t *stream)")

    def channel(self, advance: int) -> str:
        """One channel's row; moves the row pointers by `advance`. Returns the register with the end of the stream."""
        code, shape = self.code, self.shape
        passed, end = 0, ""
        for position, (pixels, count) in enumerate(shape.blocks):
            step, is_last = 2 * pixels * shape.stride, position == len(shape.blocks) - 1
            if count == 1:
                end = self.block(pixels, advance - passed if is_last else step, is_last=is_last)
                passed += step
                continue
            base = "p0" if self.has_pointers else "at"
            code.constant("v0", step * count)
            code.ops([f"add {{v0}}, {{{base}}}", f"str {{v0}}, [sp, #{_BLOCKS_END_AT}]"])
            with code.loop(f"next {pixels} pixels") as label:
                end = self.block(pixels, step, is_last=False)
                code.ops([f"cmp {{{base}}}, {{{end}}}", f"bne {label}"])
            passed += step * count
            if is_last:
                end = self.end_of_loop(advance - passed)
        return end

    def end_of_loop(self, move: int) -> str:
        """What is left to do for a channel whose last block was one of several equal ones."""
        code = self.code
        code.ops([f"ldr {{v0}}, [sp, #{_OUT_AT}]", f"ldr {{v1}}, [sp, #{_END_AT}]"])
        self.move_rows(move, "v2")
        code.add("wp", 4 * self.words, "v2")
        code.add("v0", self.y.dtype.bytes - self.shape.columns * self.y.pixel_bytes, "v2")
        code.op(f"str {{v0}}, [sp, #{_OUT_AT}]")
        return "v1"

    def move_rows(self, move: int, temporary: str) -> None:
        for base in self.bases if self.has_pointers else ["at"]:
            self.code.add(base, move, temporary)

    def block(self, pixels: int, move: int, *, is_last: bool) -> str:
        """A block of pixels; then moves the rows, and behind a channel's last pixel the stream and `out`.

        Returns the register with the end of the stream, or of equal blocks.
        """
        code, count = self.code, self.form.parameters.shape[1]
        stream_move = 4 * self.words if is_last else 0
        moves_stream = stream_move <= _FARTHEST
        moves_rows = self.has_pointers and self.can_move(pixels, move)
        loads = [self.load_of_stream(0, stream_move if moves_stream else 0)]
        products: list[Product] = []
        for row in range(self.shape.kh):
            row_loads, row_products = self.row(row, pixels, move if moves_rows else 0,
                                               stream_move if moves_stream else 0)  # fmt: skip
            loads += row_loads
            products += row_products
        first = self.words - count
        kept = [self.load_of_stream(first + i, stream_move if moves_stream else 0) for i in range(count)]
        if not self.keeps_out:
            kept.append(Load("out", f"[sp, #{_OUT_AT}]"))
        kept.append(Load("end", f"[sp, #{_END_AT if is_last else _BLOCKS_END_AT}]"))
        starts = dict.fromkeys(range(pixels), loads[0].name)
        order = Order(code, loads, products, kept, self.free, starts=starts, alternates=self.shape.pairs_loads)
        order.write()
        out = "out" if self.keeps_out else order.register("out")
        parameters = [order.register(f"stream {first + i}") for i in range(count)]
        self.results(pixels, order, out, parameters, is_last=is_last)
        if not moves_rows:
            self.move_rows(move, parameters[0])
        if not moves_stream:
            code.add("wp", stream_move, parameters[0])
        return order.register("end")

    def can_move(self, pixels: int, move: int) -> bool:
        """True where the first load of a row can write its pointer back, moved."""
        last = 2 * ((pixels - 1) * self.shape.stride + (self.shape.kw - 1) * self.shape.dilation)
        return abs(move) <= _FARTHEST and last - move <= 4095

    def load_of_stream(self, word: int, move: int) -> Load:
        """A word of the channel; the first load moves the pointer."""
        if word == 0:
            return Load("stream 0", f"[{{wp}}], #{move}" if move else "[{wp}]")
        return Load(f"stream {word}", f"[{{wp}}, #{4 * word - move}]")

    def row(self, row: int, pixels: int, move: int, stream_move: int) -> tuple[list[Load], list[Product]]:
        """Loads and products of one row of taps, word of inputs by word."""
        shape = self.shape
        first = 1 + row * len(shape.pairs)
        loads = [self.load_of_stream(first + index, stream_move) for index in range(len(shape.pairs))]
        by_word: dict[int, list[Product]] = {}
        for pixel in range(pixels):
            for word, product in self.products(row, pixel, first):
                by_word.setdefault(word, []).append(product)
        pointer = f"p{row}" if self.has_pointers else "p"
        before = () if self.has_pointers else (f"ldr {{p}}, [sp, #{_ROWS_AT + 4 * row}]", "add {p}, {at}")
        for position, word in enumerate(sorted(by_word)):
            offset = 4 * word - (move if position else 0)
            address = f"[{{{pointer}}}, #{offset}]" if offset else f"[{{{pointer}}}]"
            if position == 0 and move:
                address = f"[{{{pointer}}}], #{move}"
            loads.append(Load(f"x{row} {word}", address, before if position == 0 else ()))
        return loads, [product for word in sorted(by_word) for product in by_word[word]]

    def products(self, row: int, pixel: int, first: int) -> list[tuple[int, Product]]:
        """(word of inputs, product) for the taps of one pixel."""
        shape = self.shape
        found: list[tuple[int, Product]] = []
        tap = 0
        while tap < shape.kw:
            at = pixel * shape.stride + tap * shape.dilation
            word, half = divmod(at, 2)
            if shape.dilation == 1 and half == 0 and (tap, tap + 1) in shape.pairs:
                weights = first + shape.pairs.index((tap, tap + 1))
                found.append((word, Product("smlad", pixel, f"x{row} {word}", f"stream {weights}")))
                tap += 2
                continue
            weights, place = next((i, pair.index(tap)) for i, pair in enumerate(shape.pairs) if tap in pair)
            name = f"smla{'bt'[half]}{'bt'[place]}"
            found.append((word, Product(name, pixel, f"x{row} {word}", f"stream {first + weights}")))
            tap += 1
        return found

    def results(self, pixels: int, order: Order, out: str, parameters: list[str], *, is_last: bool) -> None:
        """Scale the sums and store them; the first pixel last, with the pointer moved on where it is kept."""
        code, form, y = self.code, self.form, self.y
        bits = form.layout.fraction_bits
        sequences = []
        for pixel in range(pixels):
            acc = order.sums[pixel]
            steps = form.steps(acc, parameters[0], parameters[min(1, len(parameters) - 1)], parameters[-1])
            if bits:
                steps.append([f"lsl {{{acc}}}, #{bits}"])
            sequences.append(steps)
        code.interleave(sequences, at_once=pixels if self.shape.pairs_loads else 1)
        store = "strb" if y.dtype.bytes == 1 else "strh"
        is_single = len(self.shape.blocks) == 1
        for pixel in range(1, pixels):
            code.op(f"{store} {{{order.sums[pixel]}}}, [{{{out}}}, #{pixel * y.pixel_bytes}]")
        passed = self.shape.columns * y.pixel_bytes
        move = pixels * y.pixel_bytes - (passed - y.dtype.bytes if is_last else 0)
        if is_last and is_single:
            move = y.dtype.bytes
        if abs(move) <= _FARTHEST:
            code.op(f"{store} {{{order.sums[0]}}}, [{{{out}}}], #{move}")
        else:
            code.op(f"{store} {{{order.sums[0]}}}, [{{{out}}}]")
            code.add(out, move, parameters[0])
        if not self.keeps_out:
            code.op(f"str {{{out}}}, [sp, #{_OUT_AT}]")
