"""Assembly of convolutions and fully connected layers on Armv6-M: one pixel by a group of eight channels.

One step loads an input and a word for each pair or so of channels (`packing_armv6m`), multiplies and adds. Sums lie in
r8 to r12. Where a layer's sums are too wide for their fields, the taps are split into segments whose sums are decoded
one by one and added up in the frame.

The stream holds, for each group: for each segment the start values and the weights of its taps, then the parameters of
requantisation in the order of decoding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly_armv6m import ThumbAssembly
from midge.kernels.base import Function
from midge.kernels.packing_armv6m import CHANNELS, Chain, Coding, Segments, coding_for, needed_bits, segments
from midge.kernels.requantize_armv6m import Requantization
from midge.kernels.view import Rows
from midge.kernels.window import Window

REGISTERS = {
    "xp": "r0", "wp": "r1", "x": "r2", "w0": "r3", "w1": "r4", "w2": "r5", "w3": "r6", "w4": "r7",
    "a0": "r8", "a1": "r9", "a2": "r10", "a3": "r11", "a4": "r12",
}  # fmt: skip
_SPARES = ("w1", "w2", "w3", "w4")
MOST_TAP_ROWS = 60
_MOST_UNROLLED = 32
"""Taps whose inputs one base register reaches."""
_FEW_TAPS = 96
_MOST_SEGMENTS = 9


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. A pixel's inputs are `kh` runs of `run` bytes."""

    kh: int
    run: int
    pixel_bytes: int
    """From a pixel's window to the next one's."""
    columns: int
    channels: int

    @property
    def taps(self) -> int:
        return self.kh * self.run

    @property
    def unroll(self) -> int:
        """Taps that are written out one after the other, at most: fewer where each row of taps has its own code."""
        return _MOST_UNROLLED if self.kh == 1 or self.taps <= _FEW_TAPS else _MOST_UNROLLED // 2


def shape_of(window: Window) -> Shape:
    """The shape of a convolution without groups or dilation along the row."""
    return Shape(window.kh, window.kw * window.x.channels, window.stride_w * window.x.channels, window.y.columns,
                 window.y.channels)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Weights [channels, taps] of a layer in words. `rest` is the coding of the channels past the last full group."""

    weights: np.ndarray
    segments: Segments
    full: Coding | None
    rest: Coding | None

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        codings = "r".join("" if coding is None else coding.key for coding in (self.full, self.rest))
        return f"t{len(self.segments.ends)}_{codings}"

    @property
    def groups(self) -> tuple[tuple[Coding, int], ...]:
        """Codings and how many groups have each."""
        full, rest = divmod(len(self.weights), CHANNELS)
        pairs = ((self.full, full), (self.rest, 1 if rest else 0))
        return tuple((coding, count) for coding, count in pairs if coding is not None and count)

    def stream(self, requantization: Requantization) -> np.ndarray:
        """int32 words in the order the code reads them."""
        parts: list[np.ndarray] = []
        first = 0
        for coding, count in self.groups:
            for _ in range(count):
                group = slice(first, first + coding.channels)
                tap = 0
                for start, end in zip(self.segments.starts, self.segments.ends, strict=True):
                    parts += [coding.encode(start[group]), coding.encode(self.weights[group, tap:end].T).reshape(-1)]
                    tap = end
                order = [first + channel for channel in decoding_order(coding)]
                parts.append(requantization.parameters[order].reshape(-1))
                first += coding.channels
        return np.concatenate(parts)


def pack(weights: np.ndarray, totals: np.ndarray) -> Packed | None:
    """Weights [channels, taps] for inputs 0 … 255 and sums that start at `totals`; None where sums fit no coding."""
    full, rest = divmod(len(weights), CHANNELS)
    for count in range(1, min(_MOST_SEGMENTS, weights.shape[1]) + 1):
        parts = segments(weights, totals, count)
        needs = needed_bits(parts.lows, parts.highs).max(0)
        codings = (
            coding_for(needs[: full * CHANNELS].reshape(full, CHANNELS).max(0).tolist()) if full else None,
            coding_for(needs[full * CHANNELS :].tolist()) if rest else None,
        )
        if (codings[0] is not None or not full) and (codings[1] is not None or not rest):
            return Packed(weights, parts, *codings)
    return None


def decoding_order(coding: Coding) -> list[int]:
    """Channels in the order in which their sums are decoded."""
    order = []
    for chain in coding.chains:
        order.append(chain.channels[0])
        for word in range(1, chain.words):
            order += [chain.channels[2 * word - 1], chain.channels[2 * word]]
    return order


def function(name: str, shape: Shape, packed: Packed, requantization: Requantization, y: Rows, title: str) -> Function:
    """The function `void name(const uint8_t *const *rows, void *out, const int32_t *stream)`."""
    return PackedWriter(name, shape, packed, requantization, y, title).write()


class PixelWriter(ABC):
    """Loops over pixels. Frame: row pointers, out, stream, out of the group, end of the run, counts, sums."""

    def __init__(self, name: str, shape: Shape, requantization: Requantization, y: Rows, title: str,
                 registers: dict[str, str]) -> None:  # fmt: skip
        self.shape = shape
        self.form = requantization
        self.y = y
        slots = iter(range(4 * shape.kh, 4 * shape.kh + 64, 4))
        self.out_at, self.stream_at, self.group_at, self.end_at, self.pixels_at, self.groups_at = (
            next(slots) for _ in range(6)
        )
        self.sums_at = next(slots)
        self.code = ThumbAssembly(name, title, registers, 4 * (shape.kh + 6 + CHANNELS + 2))

    def write(self) -> Function:
        code, shape = self.code, self.shape
        for row in range(shape.kh):
            code.ops(["ldmia r0!, {{r3}}", f"str r3, [sp, #{4 * row}]"])
        code.ops([f"str r1, [sp, #{self.out_at}]", f"str r2, [sp, #{self.stream_at}]"])
        if shape.columns == 1:
            self.pixel()
        else:
            code.constant("w0", shape.columns)
            code.op(f"str {{w0}}, [sp, #{self.pixels_at}]")
            with code.repeat("next pixel"):
                self.pixel()
                for row in range(shape.kh):
                    code.move_out("xp", 4 * row, shape.pixel_bytes, "w0")
                code.move_out("xp", self.out_at, self.y.pixel_bytes, "w0")
                self.count_down(self.pixels_at)
        return code.function(f"void {code.name}(const uint8_t *const *rows, void *out, const int32_t *stream)")

    @abstractmethod
    def pixel(self) -> None:
        """All channels of one pixel."""

    def count_down(self, slot: int) -> None:
        self.code.ops([f"ldr {{w0}}, [sp, #{slot}]", "subs {w0}, #1", f"str {{w0}}, [sp, #{slot}]"])

    def counted(self, count: int, body: Callable[[], None], purpose: str) -> None:
        """The body so many times."""
        code = self.code
        if count == 1:
            body()
            return
        code.constant("w0", count)
        code.op(f"str {{w0}}, [sp, #{self.groups_at}]")
        with code.repeat(purpose):
            body()
            self.count_down(self.groups_at)

    def run(self, taps: int, step: Callable[[int], None], temporary: str = "w0") -> None:
        """Steps of neighbouring inputs."""
        code = self.code
        turns = -(-taps // self.shape.unroll)
        unroll = taps // turns
        if turns > 1:
            code.constant(temporary, turns * unroll)
            code.ops([f"adds {{{temporary}}}, {{xp}}, {{{temporary}}}", f"str {{{temporary}}}, [sp, #{self.end_at}]"])
            with code.repeat(f"next {unroll} inputs"):
                for index in range(unroll):
                    step(index)
                code.ops([f"adds {{xp}}, #{unroll}", f"ldr {{{temporary}}}, [sp, #{self.end_at}]",
                          f"cmp {{xp}}, {{{temporary}}}"])  # fmt: skip
        for index in range(taps - turns * unroll if turns > 1 else taps):
            if index and index % _MOST_UNROLLED == 0:
                code.op(f"adds {{xp}}, #{_MOST_UNROLLED}")
            step(index % _MOST_UNROLLED)

    def store(self, channel: int, register: str, spare: str) -> None:
        """A byte at its channel, from the group's place in `xp`."""
        at = channel * (self.y.plane_bytes if self.form_planes else 1)
        if at <= 31:
            self.code.op(f"strb {{{register}}}, [{{xp}}, #{at}]")
            return
        self.code.constant(spare, at)
        self.code.op(f"strb {{{register}}}, [{{xp}}, {{{spare}}}]")

    @property
    def form_planes(self) -> bool:
        return self.form.layout.planes

    def next_group(self, channels: int, spare: str) -> None:
        self.code.add("xp", channels * (self.y.plane_bytes if self.form_planes else 1), spare)
        self.code.op(f"str {{xp}}, [sp, #{self.group_at}]")


class PackedWriter(PixelWriter):
    """Channels that share words."""

    def __init__(self, name: str, shape: Shape, packed: Packed, requantization: Requantization, y: Rows,
                 title: str) -> None:  # fmt: skip
        super().__init__(name, shape, requantization, y, title, REGISTERS)
        self.packed = packed

    def pixel(self) -> None:
        code = self.code
        code.ops([f"ldr {{w0}}, [sp, #{self.out_at}]", f"str {{w0}}, [sp, #{self.group_at}]",
                  f"ldr {{wp}}, [sp, #{self.stream_at}]"])  # fmt: skip
        for coding, count in self.packed.groups:
            self.counted(count, lambda coding=coding: self.group(coding), f"next {coding.channels} channels")

    def group(self, coding: Coding) -> None:
        code, ends = self.code, self.packed.segments.ends
        load = "ldmia {wp}!, {{" + ", ".join(f"{{w{word}}}" for word in range(coding.words)) + "}}"

        def step(at: int) -> None:
            code.op(f"ldrb {{x}}, [{{xp}}, #{at}]")
            code.op(load)
            for word in range(coding.words):
                code.ops([f"muls {{w{word}}}, {{x}}, {{w{word}}}", f"add {{a{word}}}, {{w{word}}}"])

        first = 0
        for index, end in enumerate(ends):
            code.op(load, "start values")
            code.ops([f"mov {{a{word}}}, {{w{word}}}" for word in range(coding.words)])
            for row, start, count in self.pieces(first, end):
                code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
                code.add("xp", start, "w0")
                self.run(count, step)
            first = end
            is_last = index == len(ends) - 1
            if is_last:
                code.op(f"ldr {{xp}}, [sp, #{self.group_at}]")
            word = 0
            for chain in coding.chains:
                for channel, register in self.decoded(chain, word):
                    self.consume(channel, register, is_first=index == 0, is_last=is_last)
                word += chain.words
        self.next_group(coding.channels, "w0")

    def pieces(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(row, first tap in the row, taps) of a segment."""
        run = self.shape.run
        while first < end:
            row, start = divmod(first, run)
            count = min(end - first, run - start)
            yield row, start, count
            first += count

    def decoded(self, chain: Chain, first_word: int) -> Iterator[tuple[int, str]]:
        """The channels of a chain, each with the register that has its sum; the others of `x` and `w0` are kept."""
        code = self.code
        own, _, after = chain.fields(0)
        code.op(f"mov {{w0}}, {{a{first_word}}}")
        self.sign_extend("x", "w0", own)
        if after:
            code.ops(["subs {w0}, {w0}, {x}", f"lsrs {{w0}}, {{w0}}, #{own}", f"mov {{a{first_word}}}, {{w0}}"])
        yield chain.channels[0], "x"
        known = after
        for word in range(1, chain.words):
            own, before, after = chain.fields(word)
            shift = own - known
            code.ops([f"mov {{w0}}, {{a{first_word + word}}}", f"mov {{x}}, {{a{first_word + word - 1}}}"])
            code.ops([f"lsls {{w1}}, {{x}}, #{shift}" if shift else "movs {w1}, {x}", "subs {w0}, {w0}, {w1}"])
            self.sign_extend("w1", "w0", own)
            code.op("subs {w0}, {w0}, {w1}")
            rest = "w0"
            if after:
                rest = "w2"
                self.sign_extend("w2", "w0", own + before)
                code.ops(["subs {w0}, {w0}, {w2}", f"lsrs {{w0}}, {{w0}}, #{own + before}",
                          f"mov {{a{first_word + word}}}, {{w0}}"])  # fmt: skip
            if shift:
                code.op(f"asrs {{{rest}}}, {{{rest}}}, #{shift}")
            code.ops([f"adds {{x}}, {{x}}, {{{rest}}}", "movs {w0}, {w1}"])
            yield chain.channels[2 * word - 1], "x"
            yield chain.channels[2 * word], "w0"
            known = after

    def sign_extend(self, to: str, source: str, width: int) -> None:
        """The low bits of a word as a signed number."""
        if width == 32:
            self.code.op(f"movs {{{to}}}, {{{source}}}")
            return
        self.code.ops([f"lsls {{{to}}}, {{{source}}}, #{32 - width}", f"asrs {{{to}}}, {{{to}}}, #{32 - width}"])

    def consume(self, channel: int, register: str, *, is_first: bool, is_last: bool) -> None:
        """Keep a segment's sum, or make the result of all."""
        code = self.code
        slot = self.sums_at + 4 * channel
        if not is_first:
            code.ops([f"ldr {{w1}}, [sp, #{slot}]", f"adds {{{register}}}, {{{register}}}, {{w1}}"])
        if not is_last:
            code.op(f"str {{{register}}}, [sp, #{slot}]")
            return
        self.form.scale(code, register, "wp", _SPARES)
        self.store(channel, register, "w1")
