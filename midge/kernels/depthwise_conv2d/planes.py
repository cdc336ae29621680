"""Assembly of depthwise 3x3 convolutions on rows in planes: blocks of up to six neighbouring pixels of one channel.

A word brings four neighbours x0 … x3; `SXTB16` splits them into e = (x0, x2) and o = (x1, x3). Of a row of taps,
(w0, w2) share a register and w1 has one. Where a pixel's first and third tap are a pair, `SMLAD` does both; elsewhere
the halves are multiplied one by one. Weights are shifted left by six bits, which requantisation wants and 16 bits have
room for.

The stream holds for each channel: start value, (w0, w2) and w1 of three rows, multiplier, offset (and lowering).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.depthwise_conv2d.tap_products import TAPS, TapProducts
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import Rows
from midge.kernels.window import Window

FRACTION_BITS = 6
_ACCUMULATORS = ("a0", "a1", "a2", "a3", "a4", "a5")
_REGISTERS = {
    "p0": "r0", "p1": "r1", "p2": "r2", "wp": "r3", "a0": "r4", "a1": "r5", "a2": "r6", "a3": "r7", "a4": "r8",
    "a5": "r9", "e": "r10", "o": "r11", "w02": "r12", "w1": "lr",
}  # fmt: skip
_OUT_AT, _OUT_NOW_AT, _END_AT, _BLOCKS_AT, _FRAME_BYTES = 0, 4, 8, 12, 16


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on."""

    columns: int
    stride: int
    channels: int
    plane_bytes: int

    @property
    def is_one_block(self) -> bool:
        return self.columns <= len(_ACCUMULATORS)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(pixels, how often): sixes, and the rest."""
        sixes, rest = divmod(self.columns, len(_ACCUMULATORS))
        return tuple((pixels, count) for pixels, count in ((6, sixes), (rest, 1)) if pixels and count)


def shape_of(window: Window, plane_bytes: int) -> Shape:
    return Shape(window.y.columns, window.stride_w, window.y.channels, plane_bytes)


def weight_stream(weights: np.ndarray, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [1, 3, 3, channels]."""
    taps = weights[0].astype(np.int32) << FRACTION_BITS  # [3 rows, 3 taps, channels]
    pairs = (taps[:, 0] & 0xFFFF) | (taps[:, 2] << 16)
    rows = np.stack([pairs, taps[:, 1]], axis=1).reshape(2 * TAPS, -1)
    starts = requantization.starts[None]
    return np.concatenate([starts, rows, requantization.parameters.T]).T.astype(np.int32)


def function(name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> Function:
    """The function `void name(const int8_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, requantization, y, title).write()


class _Writer(TapProducts):
    """Frame: out of the channel, out of the block, end of the stream, blocks left."""

    def __init__(self, name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> None:
        self.shape = shape
        self.form = requantization
        self.y = y
        self.fresh: set[int] = set()
        """Pixels whose first product adds to the start value, which lies in pixel 0's register."""
        self.words = 1 + 2 * TAPS + requantization.parameters.shape[1]
        self.code = Assembly(name, title, _REGISTERS, _FRAME_BYTES)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.ops([f"str r1, [sp, #{_OUT_AT}]", "mov {wp}, r2"])
        code.constant("e", 4 * self.words * shape.channels)
        code.ops(["add {e}, {wp}", f"str {{e}}, [sp, #{_END_AT}]", "ldr {p2}, [r0, #8]", "ldr {p1}, [r0, #4]",
                  "ldr {p0}, [r0]"])  # fmt: skip
        with code.loop("next channel") as label:
            if not shape.is_one_block:
                code.ops([f"ldr {{e}}, [sp, #{_OUT_AT}]", f"str {{e}}, [sp, #{_OUT_NOW_AT}]"])
            passed = 0
            for pixels, count in shape.blocks:
                passed += self.blocks(pixels, count)
            for pointer in ("p0", "p1", "p2"):
                code.add(pointer, shape.plane_bytes - passed, "e")
            code.ops(
                [f"ldr {{e}}, [sp, #{_OUT_AT}]", f"add {{e}}, #{self.y.dtype.bytes}", f"str {{e}}, [sp, #{_OUT_AT}]"]
            )
            code.add("wp", 4 * self.words, "e")
            code.ops([f"ldr {{e}}, [sp, #{_END_AT}]", "cmp {wp}, {e}", f"bne {label}"])
        return code.function(f"void {code.name}(const int8_t *const *rows, void *out, const int32_t *stream)")

    def blocks(self, pixels: int, count: int) -> int:
        """Blocks of one size; returns by how many bytes the row pointers were moved."""
        code, shape = self.code, self.shape
        step = pixels * shape.stride
        if count == 1:
            self.block(pixels, is_only=shape.is_one_block)
            if (pixels, count) == shape.blocks[-1]:
                return 0
            for pointer in ("p0", "p1", "p2"):
                code.add(pointer, step, "e")
            return step
        code.ops([f"mov {{e}}, #{count}", f"str {{e}}, [sp, #{_BLOCKS_AT}]"])
        with code.loop(f"next {pixels} pixels") as label:
            self.block(pixels, is_only=False)
            code.ops([f"add {{{pointer}}}, #{step}" for pointer in ("p0", "p1", "p2")])
            code.ops(
                [f"ldr {{e}}, [sp, #{_BLOCKS_AT}]", "subs {e}, #1", f"str {{e}}, [sp, #{_BLOCKS_AT}]", f"bne {label}"]
            )
        return step * count

    def block(self, pixels: int, *, is_only: bool) -> None:
        code, count = self.code, self.form.parameters.shape[1]
        code.op("ldr {a0}, [{wp}]", "start value")
        self.fresh = {pixel for pixel in range(1, pixels) if pixel * self.shape.stride < 4}
        code.ops([f"mov {{a{pixel}}}, {{a0}}" for pixel in range(1, pixels) if pixel not in self.fresh])
        for row in range(TAPS):
            self.row(row, pixels)
        loads = ("e", "o", "w02")[:count]
        code.ops([f"ldr {{{name}}}, [{{wp}}, #{4 * (1 + 2 * TAPS + i)}]" for i, name in enumerate(loads)])
        for pixel in range(pixels):
            self.form.scale(code, f"a{pixel}", "e", "o", loads[-1])
        at = _OUT_AT if is_only else _OUT_NOW_AT
        code.op(f"ldr {{e}}, [sp, #{at}]")
        wide = self.form.layout.fraction_bits
        for pixel in range(pixels):
            if wide:
                code.op(f"lsl {{a{pixel}}}, #{wide}")
        store = "strb" if wide is None else "strh"
        code.ops([f"{store} {{a{pixel}}}, [{{e}}, #{pixel * self.y.pixel_bytes}]" for pixel in range(pixels)])
        if not is_only:
            code.add("e", pixels * self.y.pixel_bytes, "o")
            code.op(f"str {{e}}, [sp, #{_OUT_NOW_AT}]")

    def row(self, row: int, pixels: int) -> None:
        """One row of taps: words of inputs one after the other, the next one loaded ahead where a register is free."""
        code, stride = self.code, self.shape.stride
        words = ((pixels - 1) * stride + TAPS + 3) // 4
        ahead = list(_ACCUMULATORS[pixels:])[: words - 1]
        code.op(f"ldr {{e}}, [{{p{row}}}]", "row" if row else "")
        for index, register in enumerate(ahead):
            code.op(f"ldr {{{register}}}, [{{p{row}}}, #{4 * (index + 1)}]")
        code.ops([f"ldr {{w02}}, [{{wp}}, #{4 + 8 * row}]", f"ldr {{w1}}, [{{wp}}, #{8 + 8 * row}]"])
        for word in range(words):
            source = "e"
            if word:
                if word <= len(ahead):
                    source = ahead[word - 1]
                else:
                    code.op(f"ldr {{e}}, [{{p{row}}}, #{4 * word}]")
            code.ops([f"sxtb16 {{o}}, {{{source}}}, ror #8", f"sxtb16 {{e}}, {{{source}}}"])
            for pixel in reversed(range(pixels)):
                self.products(pixel, word * 4 - pixel * stride)
