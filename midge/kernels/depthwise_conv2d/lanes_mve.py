"""Assembly of depthwise convolutions with Helium, channels across the lanes: 16 neighbouring channels of a pixel.

A tap is a vector of inputs by a vector of weights. `VMULLB` and `VMULLT` give the products of the even and of the odd
channels, in 16 bits; as many taps are added there as cannot overflow, whatever the inputs: two nearly always. Then they
are widened, again by even and odd lanes, and added in 32 bits:

    channels of the four sums    0 4 8 12 | 2 6 10 14 | 1 5 9 13 | 3 7 11 15

Narrowing puts even and odd lanes together again, so that 16 results come out in order.

The stream holds for each 16 channels the weights of all taps, and the parameters of each sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.requantize_mve import NARROWED_BITS, Requantization
from midge.kernels.window import Window

LANES = 16
MOST_TAPS = 64
_LARGEST_SUM = 255
"""Of the magnitudes of weights: times 128 it stays within 16 bits."""
_SUMS = ("s0", "s1", "s2", "s3")
_POINTERS = ("r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
_REGISTERS = {
    "pixels": "r0", "out": "r1", "wp": "r2", "t": "r12", "turn": "lr", **{f"p{i}": r for i, r in enumerate(_POINTERS)},
    "s0": "q0", "s1": "q1", "s2": "q2", "s3": "q3", "x": "q4", "w": "q5", "even": "q6", "odd": "q7",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. `groups`: numbers of taps that are added in 16 bits."""

    kh: int
    kw: int
    tap_bytes: int
    """From a tap to the next one of its row."""
    pixel_bytes: int
    """From a pixel's window to the next one's."""
    columns: int
    channels: int
    groups: tuple[int, ...]

    @property
    def taps(self) -> int:
        return self.kh * self.kw

    @property
    def key(self) -> str:
        groups = "".join(str(count) for count in self.groups)
        return f"k{self.kh}x{self.kw}t{self.tap_bytes}s{self.pixel_bytes}w{self.columns}n{self.channels}g{groups}"


def shape_of(window: Window, weights: np.ndarray) -> Shape:
    """weights: int8 [KH, KW, channels]."""
    channels = window.y.channels
    return Shape(window.kh, window.kw, window.dilation_w * channels, window.stride_w * channels, window.y.columns,
                 channels, _groups(np.abs(weights.astype(np.int64)).reshape(-1, channels)))  # fmt: skip


def _groups(magnitudes: np.ndarray) -> tuple[int, ...]:
    """How many neighbouring taps can be added in 16 bits, from magnitudes [taps, channels]."""
    groups: list[int] = []
    total = np.zeros(magnitudes.shape[1], np.int64)
    for tap in magnitudes:
        if groups and (total + tap).max() <= _LARGEST_SUM:
            groups[-1] += 1
            total = total + tap
        else:
            groups.append(1)
            total = tap
    return tuple(groups)


def stream(weights: np.ndarray, form: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [KH, KW, channels]."""
    channels = weights.shape[2]
    missing = -channels % LANES
    taps = np.pad(weights.reshape(-1, channels), ((0, 0), (0, missing)))
    words = np.ascontiguousarray(taps.reshape(len(taps), -1, LANES).transpose(1, 0, 2)).view(np.int32)
    parameters = np.pad(form.parameters, ((0, 0), (0, missing))).reshape(len(form.parameters), -1, 4, 2, 2)
    # From [parameter, block, 4 channels, widened halves, odd] to [block, odd, half, parameter, 4 channels].
    ordered = parameters.transpose(1, 4, 3, 0, 2)
    blocks = len(words)
    return np.concatenate([words.reshape(blocks, -1), ordered.reshape(blocks, -1)], axis=1).reshape(-1)


def function(name: str, shape: Shape, form: Requantization, title: str) -> Function:
    """The function `void name(const int8_t *const *rows, int8_t *out, const int32_t *stream)`."""
    return _Writer(name, shape, form, title).write()


class _Writer:
    """Pointers to the taps are in registers; where there are more taps than these, all are in the frame."""

    def __init__(self, name: str, shape: Shape, form: Requantization, title: str) -> None:
        self.shape, self.form = shape, form
        self.has_registers = shape.taps <= len(_POINTERS)
        frame = 0 if self.has_registers else -(-4 * shape.taps // 8) * 8
        self.code = Assembly(name, title, _REGISTERS, frame)
        self.block_bytes = LANES * shape.taps + 4 * LANES * len(form.parameters)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        self.find_taps()
        whole, rest = divmod(shape.channels, LANES)
        blocks = whole + (rest > 0)
        if rest:
            code.constant("t", (1 << rest) - 1)
            code.op("vmsr p0, {t}", "lanes of the last channels")
        if shape.columns > 1:
            code.constant("pixels", shape.columns)
        with code.loop("next pixel") as label:
            if whole > 1:
                code.ops([f"mov {{t}}, #{whole}", "dls {turn}, {t}"])
            if whole:
                with code.loop("next 16 channels") as again:
                    self.block(is_last=False, count=LANES)
                    if whole > 1:
                        code.op(f"le {{turn}}, {again}")
            if rest:
                self.block(is_last=True, count=rest)
            if shape.columns > 1:
                for tap in range(shape.taps):
                    self.move(tap, shape.pixel_bytes - LANES * blocks)
                code.add("wp", -self.block_bytes * blocks, "t")
                code.ops(["subs {pixels}, #1", f"bne {label}"])
        return code.function(
            f"void {code.name}(const int8_t *const *rows, int8_t *out, const int32_t *stream)", saves_vectors=True
        )

    def find_taps(self) -> None:
        """Pointers to the taps of the first pixel."""
        code, shape = self.code, self.shape
        for tap in range(shape.taps):
            row, column = divmod(tap, shape.kw)
            pointer = f"p{tap}" if self.has_registers else "p0"
            code.op(f"ldr {{{pointer}}}, [{{pixels}}, #{4 * row}]", "rows" if tap == 0 else "")
            code.add(pointer, column * shape.tap_bytes, "t")
            if not self.has_registers:
                code.op(f"str {{p0}}, [sp, #{4 * tap}]")

    def move(self, tap: int, step: int) -> None:
        """A tap's pointer on by some bytes."""
        code = self.code
        if self.has_registers:
            code.add(f"p{tap}", step, "t")
            return
        code.op(f"ldr {{p0}}, [sp, #{4 * tap}]")
        code.add("p0", step, "t")
        code.op(f"str {{p0}}, [sp, #{4 * tap}]")

    def block(self, *, is_last: bool, count: int) -> None:
        """16 channels of a pixel, or the last ones."""
        code, tap = self.code, 0
        for number, taps in enumerate(self.shape.groups):
            for position in range(taps):
                self.tap(tap, is_first=position == 0)
                tap += 1
            self.widen(is_first=number == 0)
        for vector in _SUMS:
            self.form.scale(code, [vector], self.parameter, "x", are_vectors=True)
        self.form.saturate(code, _SUMS[:2], "even")
        self.form.saturate(code, _SUMS[2:], "odd")
        for half, vector in (("b", "even"), ("t", "odd")):
            code.op(f"vshrn{half}.i16 {{x}}, {{{vector}}}, #{NARROWED_BITS}")
        self.form.clamp(code, "x", "w", "t", 8)
        if not is_last:
            code.op("vstrb.8 {x}, [{out}], #16")
            return
        code.ops(["vpst", "vstrbt.8 {x}, [{out}]"])
        code.add("out", count, "t")

    def parameter(self) -> str:
        self.code.op("vldrw.u32 {w}, [{wp}], #16")
        return "w"

    def tap(self, tap: int, *, is_first: bool) -> None:
        """Products of a tap, added in 16 bits."""
        code = self.code
        if self.has_registers:
            code.op(f"vldrb.u8 {{x}}, [{{p{tap}}}], #16")
        else:
            code.ops([f"ldr {{p0}}, [sp, #{4 * tap}]", "vldrb.u8 {x}, [{p0}], #16", f"str {{p0}}, [sp, #{4 * tap}]"])
        if is_first:
            code.ops(["vldrb.u8 {w}, [{wp}], #16", "vmullb.s8 {even}, {x}, {w}", "vmullt.s8 {odd}, {x}, {w}"])
            return
        code.ops(["vldrb.u8 {w}, [{wp}]", "vmullb.s8 {w}, {x}, {w}", "vadd.i16 {even}, {even}, {w}",
                  "vldrb.u8 {w}, [{wp}], #16", "vmullt.s8 {w}, {x}, {w}", "vadd.i16 {odd}, {odd}, {w}"])  # fmt: skip

    def widen(self, *, is_first: bool) -> None:
        """Sums in 16 bits to those in 32."""
        halves = [(vector, half) for vector in ("even", "odd") for half in "bt"]
        for total, (vector, half) in zip(_SUMS, halves, strict=True):
            into = total if is_first else "x"
            self.code.op(f"vmovl{half}.s16 {{{into}}}, {{{vector}}}")
            if not is_first:
                self.code.op(f"vadd.i32 {{{total}}}, {{{total}}}, {{x}}")
