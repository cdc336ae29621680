"""Assembly of sums of products with Helium: convolutions and fully connected layers on natural rows.

`VMLADAV` adds 16 products of bytes to a register. A block is 2 pixels by 4 channels, or 1 pixel by 8 channels, so that
8 sums are in registers at once and each 16 weights are loaded once for a block:

    inputs    16 neighbours of a window's row, for each pixel      one vector each
    weights   16 of each channel, filled up with zeros             one vector at a time, as the stream has them

Sums need the even registers; the odd ones hold pointers. Where a window's rows are short they are first gathered into
one run on the stack.

The stream holds where a block's lanes are stored, and then for each 4 channels their weights and parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.requantize_mve import Requantization
from midge.kernels.window import Window

VECTOR = 16
GROUP = 4
"""Channels whose weights lie together."""
_LONGEST_ADDED = 4095
"""The largest constant that one instruction adds."""
_NEAREST = 127
"""The largest offset of a load of bytes."""
_REGISTERS = {
    "a0": "r0", "a1": "r2", "a2": "r4", "a3": "r6", "b0": "r8", "b1": "r10", "b2": "r12", "b3": "lr",
    "xp": "r1", "xq": "r3", "wp": "r5", "out": "r7", "end": "r9", "turn": "r11",
    "x": "q0", "y": "q1", "w": "q2", "v": "q3", "one": "q6", "two": "q7",
}  # fmt: skip
_STRAIGHT_STEPS = 40
"""Steps that are written out one after the other; each is 14 instructions of 4 bytes."""
_UNROLLED_STEPS = 16


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. A window is `rows` rows of runs of `run_bytes`, which start at `runs`."""

    rows: int
    runs: tuple[int, ...]
    run_bytes: int
    pixel_bytes: int
    """From a pixel's window to the next one's."""
    columns: int
    channels: int

    @property
    def window_bytes(self) -> int:
        return self.rows * len(self.runs) * self.run_bytes

    @property
    def is_gathered(self) -> bool:
        """Copying the runs into one costs less than the steps that this saves, which are an eighth or more."""
        runs = self.rows * len(self.runs)
        apart, together = runs * _vectors(self.run_bytes), _vectors(self.window_bytes)
        groups = -(-self.channels // GROUP)
        saves_much = 8 * together <= 7 * apart
        return saves_much and (apart - together) * groups * 7 > runs * (2 * _vectors(self.run_bytes) + 1)

    @property
    def steps(self) -> int:
        """Vectors of 16 weights of one channel."""
        if self.is_gathered:
            return _vectors(self.window_bytes)
        return self.rows * len(self.runs) * _vectors(self.run_bytes)

    @property
    def over_bytes(self) -> int:
        """How far past a run loads go."""
        return -self.run_bytes % VECTOR

    @property
    def key(self) -> str:
        runs = f"d{self.runs[1]}x{len(self.runs)}" if len(self.runs) > 1 else ""
        return f"k{self.rows}x{self.run_bytes}{runs}s{self.pixel_bytes}w{self.columns}n{self.channels}"


def _vectors(count: int) -> int:
    return -(-count // VECTOR)


def convolution_shape(window: Window) -> Shape:
    """The shape of a convolution without groups."""
    c = window.x.channels
    joined = window.dilation_w == 1
    runs = (0,) if joined else tuple(tap * window.dilation_w * c for tap in range(window.kw))
    return Shape(window.kh, runs, window.kw * c if joined else c, window.stride_w * c, window.y.columns,
                 window.y.channels)  # fmt: skip


def stream(weights: np.ndarray, shape: Shape, form: Requantization, y_pixel: int, y_channel: int) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [channels, rows, runs, run].

    `y_pixel` and `y_channel`: bytes between two pixels, and between two channels, of the result.
    """
    channels = weights.shape[0]
    flat = weights.reshape(channels, 1, -1) if shape.is_gathered else weights.reshape(channels, -1, shape.run_bytes)
    missing = -channels % GROUP
    padded = np.pad(flat, ((0, missing), (0, 0), (0, -flat.shape[2] % VECTOR)))
    words = np.ascontiguousarray(padded.reshape(channels + missing, shape.steps, VECTOR)).view(np.int32)
    # [groups, steps, channels of a group, words of a vector]
    groups = words.reshape(-1, GROUP, shape.steps, VECTOR // 4).transpose(0, 2, 1, 3)
    parameters = np.pad(form.parameters, ((0, 0), (0, missing)))
    parameters = parameters.reshape(len(parameters), -1, GROUP).transpose(1, 0, 2)
    count = len(groups)
    body = np.concatenate([groups.reshape(count, -1), parameters.reshape(count, -1)], axis=1)
    return np.concatenate([_places(y_pixel, y_channel), body.reshape(-1)])


def _places(pixel: int, channel: int) -> np.ndarray:
    """uint16 offsets of a block's eight lanes from its first, as int32 words: of 2 x 4 blocks, and of 1 x 8."""
    lanes = np.arange(8)
    two = lanes % 2 * pixel + lanes // 2 * channel
    one = (lanes % 2 * GROUP + lanes // 2) * channel
    return np.concatenate([two, one]).astype(np.uint16).view(np.int32)


def reaches_far(shape: Shape) -> bool:
    """True where an offset leaves the bits that an instruction has for it."""
    jump = shape.runs[1] if len(shape.runs) > 1 else 0
    return GROUP + shape.channels > 0xFFFF or jump > _LONGEST_ADDED


def function(name: str, shape: Shape, form: Requantization, y_pixel: int, y_channel: int, title: str) -> Function:
    """The function `void name(const int8_t *const *rows, int8_t *out, const int32_t *stream)`."""
    return _Writer(name, shape, form, (y_pixel, y_channel), title).write()


class _Writer:
    """Frame, from the stack pointer: row pointers, out, stream, end of the stream's groups, blocks left, two runs."""

    def __init__(self, name: str, shape: Shape, form: Requantization, y: tuple[int, int], title: str) -> None:
        self.shape, self.form = shape, form
        self.y_pixel, self.y_channel = y
        self.out_at, self.stream_at, self.end_at, self.blocks_at = (4 * (shape.rows + i) for i in range(4))
        self.run_at = 4 * (shape.rows + 4)
        self.run_pitch = VECTOR * (_vectors(shape.window_bytes) + 1)
        frame = self.run_at + (2 * self.run_pitch if shape.is_gathered else 0)
        self.code = Assembly(name, title, _REGISTERS, -(-frame // 8) * 8)
        self.group_bytes = GROUP * (VECTOR * shape.steps + 4 * len(form.parameters))
        self.is_fresh = True
        """The next products are the first of their sums."""
        self.moved = 0
        """How far the input pointers are past where they began."""

    def write(self) -> Function:
        code, shape = self.code, self.shape
        for row in range(shape.rows):
            code.op(f"ldr {{turn}}, [r0, #{4 * row}]", "rows" if row == 0 else "")
            code.op(f"str {{turn}}, [sp, #{4 * row}]")
        code.ops(["mov {out}, r1", "mov {wp}, r2", "vldrw.u32 {two}, [{wp}], #16", "vldrw.u32 {one}, [{wp}], #16",
                  f"strd {{out}}, {{wp}}, [sp, #{self.out_at}]"])  # fmt: skip
        twos, ones = divmod(shape.columns, 2)
        if twos:
            self.blocks(2, twos)
        if ones:
            self.block(1)
        return code.function(
            f"void {code.name}(const int8_t *const *rows, int8_t *out, const int32_t *stream)", saves_vectors=True
        )

    def blocks(self, pixels: int, count: int) -> None:
        """`count` blocks of `pixels` pixels; all pointers go on to what follows them."""
        code, last = self.code, self.shape.columns == pixels
        if count > 1:
            code.ops([f"mov {{turn}}, #{count}", f"str {{turn}}, [sp, #{self.blocks_at}]"])
        with code.loop(f"next {pixels} pixels") as label:
            self.block(pixels)
            if not last:
                self.advance(pixels)
            if count > 1:
                code.ops([f"ldr {{a0}}, [sp, #{self.blocks_at}]", "subs {a0}, #1",
                          f"str {{a0}}, [sp, #{self.blocks_at}]", f"bne {label}"])  # fmt: skip

    def advance(self, pixels: int) -> None:
        """Rows and out to the next block."""
        code = self.code
        steps = [(4 * row, self.shape.pixel_bytes) for row in range(self.shape.rows)] + [(self.out_at, self.y_pixel)]
        for at, step in steps:
            code.op(f"ldr {{a0}}, [sp, #{at}]")
            code.add("a0", pixels * step, "a1")
            code.op(f"str {{a0}}, [sp, #{at}]")

    def block(self, pixels: int) -> None:
        """All channels of a block of pixels."""
        code, channels = self.code, self.shape.channels
        if self.shape.is_gathered:
            self.gather(pixels)
        code.op(f"ldrd {{out}}, {{wp}}, [sp, #{self.out_at}]")
        width = GROUP if pixels == 2 else 2 * GROUP
        whole, rest = divmod(channels, width)
        if whole > 1:
            code.constant("a0", whole * width // GROUP * self.group_bytes)
            code.ops(["add {a0}, {wp}", f"str {{a0}}, [sp, #{self.end_at}]"])
        if whole:
            with code.loop(f"next {width} channels") as label:
                self.channels(pixels, width)
                if whole > 1:
                    code.ops([f"ldr {{a0}}, [sp, #{self.end_at}]", "cmp {wp}, {a0}", f"bne {label}"])
        if rest:
            self.channels(pixels, rest)

    def gather(self, pixels: int) -> None:
        """The runs of each pixel's window into one run on the stack."""
        code, shape = self.code, self.shape
        pieces = [min(VECTOR, shape.run_bytes - at) for at in range(0, shape.run_bytes, VECTOR)]
        code.op(f"add {{xq}}, sp, #{self.run_at}", "where the runs go")
        for pixel in range(pixels):
            if pixel:
                code.add("xq", self.run_pitch - shape.window_bytes, "a1")
            for row in range(shape.rows):
                code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
                self.moved = 0
                for run in shape.runs:
                    for number, piece in enumerate(pieces):
                        at = self.reach(pixel * shape.pixel_bytes + run + VECTOR * number, 1)
                        code.op(f"vldrb.u8 {{x}}, [{{xp}}, #{at}]")
                        code.op(f"vstrb.8 {{x}}, [{{xq}}], #{piece}")

    def channels(self, pixels: int, channels: int) -> None:
        """Some channels of a block: their sums, scaled and stored."""
        code = self.code
        is_pair = channels > GROUP
        if is_pair:
            code.constant("xq", self.group_bytes)
            code.op("add {xq}, {wp}", "weights of the second group")
        sums = [f"a{c}" for c in range(min(channels, GROUP))]
        if pixels == 2:
            sums += [f"b{c}" for c in range(channels)]
        elif is_pair:
            sums += [f"b{c}" for c in range(channels - GROUP)]
        self.products(pixels, sums)
        self.finish(pixels, channels, sums)

    def products(self, pixels: int, sums: list[str]) -> None:
        """All steps of the window."""
        code, shape = self.code, self.shape
        pieces = _vectors(shape.run_bytes)
        self.is_fresh = True
        if shape.is_gathered:
            code.op(f"add {{xp}}, sp, #{self.run_at}")
            self.run(pixels, sums, [VECTOR * step for step in range(shape.steps)], self.run_pitch)
            return
        places = [run + VECTOR * piece for run in shape.runs for piece in range(pieces)]
        if shape.steps <= _STRAIGHT_STEPS or len(places) == 1:
            for row in range(shape.rows):
                code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
                self.run(pixels, sums, places, shape.pixel_bytes)
            return
        self.clear(sums)
        if shape.rows > 1:
            code.op("mov {turn}, sp")
            code.op(f"add {{end}}, sp, #{4 * shape.rows}")
            with code.loop("next row of the window") as label:
                code.op("ldr {xp}, [{turn}], #4")
                self.run(pixels, sums, places, shape.pixel_bytes)
                code.ops(["cmp {turn}, {end}", f"bne {label}"])
            return
        code.op("ldr {xp}, [sp]")
        self.long_run(pixels, sums, places)

    def clear(self, sums: list[str]) -> None:
        self.is_fresh = False
        self.code.ops([f"mov {{{name}}}, #0" for name in sums])

    def long_run(self, pixels: int, sums: list[str], places: list[int]) -> None:
        """A run in a loop of unrolled steps, and the rest of it."""
        code, is_apart = self.code, len(self.shape.runs) > 1
        turns, rest = (0, len(places)) if is_apart else divmod(len(places), _UNROLLED_STEPS)
        if pixels == 2:
            self.second_pointer(self.shape.pixel_bytes)
        if turns:
            with self.counted(turns) as label:
                self.run(pixels, sums, places[:_UNROLLED_STEPS], 0, has_pointers=True)
                step = _UNROLLED_STEPS * VECTOR - self.moved
                code.op(f"add {{xp}}, #{step}")
                if pixels == 2:
                    code.op(f"add {{xq}}, #{step}")
                code.ops(["subs {turn}, #1", f"bne {label}"])
        if rest:
            self.run(pixels, sums, places[:rest], 0, has_pointers=True)

    @contextmanager
    def counted(self, turns: int) -> Iterator[str]:
        self.code.op(f"mov {{turn}}, #{turns}")
        with self.code.loop("next steps") as label:
            yield label

    def second_pointer(self, pitch: int) -> None:
        if pitch <= _LONGEST_ADDED:
            self.code.op(f"addw {{xq}}, {{xp}}, #{pitch}")
        else:
            self.code.constant("xq", pitch)
            self.code.op("add {xq}, {xp}")

    def run(self, pixels: int, sums: list[str], places: list[int], pitch: int, *, has_pointers: bool = False) -> None:
        """Steps at these places from the input pointer; the second pixel's are `pitch` further."""
        self.moved = 0
        is_shared = pixels == 2 and not has_pointers and places[-1] + pitch <= _NEAREST
        if pixels == 2 and not is_shared and not has_pointers:
            self.second_pointer(pitch)
        for place in places:
            at = self.reach(place, 1 if pixels == 1 or is_shared else 2)
            self.code.op(f"vldrb.u8 {{x}}, [{{xp}}, #{at}]")
            if pixels == 2:
                second = f"xp}}, #{at + pitch}" if is_shared else f"xq}}, #{at}"
                self.code.op(f"vldrb.u8 {{y}}, [{{{second}]")
            self.step(pixels, sums)

    def reach(self, place: int, pointers: int) -> int:
        """Move the input pointers where a place is too far from them; where it is from them then."""
        if place - self.moved > _NEAREST:
            for name in ("xp", "xq")[:pointers]:
                self.code.add(name, place - self.moved, "turn")
            self.moved = place
        return place - self.moved

    def step(self, pixels: int, sums: list[str]) -> None:
        """16 inputs of each pixel by 16 weights of each channel."""
        code = self.code
        add = "" if self.is_fresh else "a"
        for channel in range(GROUP):
            code.op("vldrw.u32 {w}, [{wp}], #16")
            if f"a{channel}" in sums:
                code.op(f"vmladav{add}.s8 {{a{channel}}}, {{x}}, {{w}}")
            if pixels == 2 and f"b{channel}" in sums:
                code.op(f"vmladav{add}.s8 {{b{channel}}}, {{y}}, {{w}}")
        if pixels == 1 and "b0" in sums:
            for channel in range(GROUP):
                code.op("vldrw.u32 {w}, [{xq}], #16")
                if f"b{channel}" in sums:
                    code.op(f"vmladav{add}.s8 {{b{channel}}}, {{x}}, {{w}}")
        self.is_fresh = False

    def finish(self, pixels: int, channels: int, sums: list[str]) -> None:
        """Scale the sums and store the results."""
        code = self.code
        vectors = ["x", "y"] if "b0" in sums else ["x"]
        for vector, name in zip(vectors, "ab", strict=False):
            own = [register for register in sums if register.startswith(name)]
            own += own[:1] * (GROUP - len(own))  # lanes that nobody reads
            code.op(f"vmov {{{vector}}}[2], {{{vector}}}[0], {{{own[0]}}}, {{{own[2]}}}")
            code.op(f"vmov {{{vector}}}[3], {{{vector}}}[1], {{{own[1]}}}, {{{own[3]}}}")
        is_pair = pixels == 1 and channels > GROUP
        if is_pair:
            self.scale(["x"], "wp")
            self.scale(["y"], "xq")
            code.op("mov {wp}, {xq}")
        else:
            self.scale(vectors, "wp")
        self.form.narrow(code, vectors, "w", "v", "a0")
        width = GROUP if pixels == 2 else 2 * GROUP
        if channels == width:
            code.op(f"vstrb.16 {{w}}, [{{out}}, {{{'two' if pixels == 2 else 'one'}}}]")
            code.add("out", width * self.y_channel, "a0")
            return
        lanes = [lane for lane in range(8) if _channel_of(lane, pixels) < channels]
        code.constant("a0", sum(0b11 << 2 * lane for lane in lanes))
        code.ops(["vmsr p0, {a0}", "vpst", f"vstrbt.16 {{w}}, [{{out}}, {{{'two' if pixels == 2 else 'one'}}}]"])

    def scale(self, vectors: list[str], pointer: str) -> None:
        def parameter() -> str:
            self.code.op(f"vldrw.u32 {{w}}, [{{{pointer}}}], #16")
            return "w"

        self.form.scale(self.code, vectors, parameter, "v", are_vectors=True)


def _channel_of(lane: int, pixels: int) -> int:
    return lane // 2 if pixels == 2 else lane % 2 * GROUP + lane // 2
