"""The assembly of convolutions on widened rows (`wide` says what it reads and in which order)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.conv2d.wide import INSTRUCTION_BYTES, Shape, pair_words, step_bytes
from midge.kernels.conv2d.wide_store import Store
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import Rows

_REGISTERS = {
    "xp": "r0", "wp": "r1", "a0": "r4", "a1": "r5", "a2": "r6", "b0": "r7", "b1": "r8", "b2": "r9",
    "wa": "r2", "wb": "r3", "x0": "r10", "x1": "r11", "x2": "r12", "t": "lr",
}  # fmt: skip
_OF_FOUR = {"a3": "x2", "b3": "t"}
"""The accumulators of a block's fourth pixel lie where smaller blocks have these."""
_SLOTS = ("out", "stream", "next_out", "next_stream", "slot", "run_end", "blocks", "pairs", "offset")


def function(name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> Function:
    """The function `void name(const int16_t *const *rows, void *out, const int32_t *stream)`."""
    while True:
        writer = _Writer(name, shape, requantization, y, title)
        written = writer.write()
        too_many = writer.largest_loop_bytes - shape.loop_bytes
        if too_many <= 0 or shape.steps_bytes <= step_bytes(4, 1):
            return written
        shape = replace(shape, steps_bytes=max(shape.steps_bytes - too_many, step_bytes(4, 1)))


class _Writer:
    """Frame, from the stack pointer: row pointers, then `_SLOTS`.

    `out` and `stream` are those of the first block and pair in the outer loop, `next_out` and `next_stream` those of
    the inner loop; `offset` is that of the block in its rows.
    """

    def __init__(self, name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> None:
        self.shape = shape
        self.y = y
        self.at = {slot: 4 * (shape.kh + index) for index, slot in enumerate(_SLOTS)}
        self.is_first = False
        """The next products are the first of their accumulators."""
        self.largest_loop_bytes = 0
        """Code of the largest loop over pairs of channels."""
        registers = _REGISTERS | {name: _REGISTERS[other] for name, other in _OF_FOUR.items()}
        self.code = Assembly(name, title, registers, -(-4 * (shape.kh + len(_SLOTS)) // 8) * 8)
        self.has_starts, self.row_words, self.parameter_words = pair_words(shape, requantization)
        self.store = Store(self.code, requantization, y)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        for row in range(shape.kh):
            code.op(f"ldr {{t}}, [r0, #{4 * row}]", "rows" if row == 0 else "")
            code.op(f"str {{t}}, [sp, #{4 * row}]")
        code.op(f"strd r1, r2, [sp, #{self.at['out']}]", "out, stream")
        if shape.pairs_outside:
            self.channels_outside()
        else:
            for position, (pixels, count) in enumerate(shape.blocks):
                self.blocks_outside(pixels, count, is_last=position == len(shape.blocks) - 1)
        return code.function(f"void {code.name}(const int16_t *const *rows, void *out, const int32_t *stream)")

    def channels_outside(self) -> None:
        """For each pair of channels all blocks of pixels."""
        pairs, single = divmod(self.shape.channels, 2)
        if pairs:
            with self.measured(), self.counted("pairs", pairs, "next pair of channels"):
                self.row_of_blocks(2)
                if pairs > 1 or single:
                    self.advance_slot("out", self.store.channel_bytes(2))
        if single:
            self.row_of_blocks(1)

    def row_of_blocks(self, channels: int) -> None:
        """One or two channels of all pixels of a row."""
        code = self.code
        code.ops([f"ldr {{t}}, [sp, #{self.at['out']}]", f"str {{t}}, [sp, #{self.at['next_out']}]"])
        if self.shape.kh > 1:
            code.ops(["mov {t}, #0", f"str {{t}}, [sp, #{self.at['offset']}]"])
        else:
            code.op("ldr {xp}, [sp]")
        for position, (pixels, count) in enumerate(self.shape.blocks):
            is_last = position == len(self.shape.blocks) - 1
            with self.counted("blocks", count, f"next {pixels} pixels"):
                code.op(f"ldr {{wp}}, [sp, #{self.at['stream']}]")
                passed = self.products_of_block(pixels, channels)
                self.store.write(pixels, channels, self.at["next_out"], pixels * self.store.pixel_bytes)
                if is_last and count == 1:
                    continue
                if self.shape.kh > 1:
                    self.advance_slot("offset", pixels * self.shape.pixel_bytes)
                else:
                    code.add("xp", pixels * self.shape.pixel_bytes - passed, "t")
        code.op(f"str {{wp}}, [sp, #{self.at['stream']}]")

    def blocks_outside(self, pixels: int, count: int, *, is_last: bool) -> None:
        """`count` blocks of `pixels` pixels, for each all channels."""
        code = self.code
        code.note(f"{count} blocks of {pixels} pixels" if count > 1 else f"one block of {pixels} pixels")
        with self.counted("blocks", count, "next block"):
            self.all_channels(pixels)
            if not is_last or count > 1:
                for row in range(self.shape.kh):
                    code.op(f"ldr {{t}}, [sp, #{4 * row}]")
                    code.add("t", pixels * self.shape.pixel_bytes, "x0")
                    code.op(f"str {{t}}, [sp, #{4 * row}]")
                self.advance_slot("out", pixels * self.store.pixel_bytes)

    def all_channels(self, pixels: int) -> None:
        """All channels of a block of pixels."""
        code, shape = self.code, self.shape
        code.op(f"ldrd {{t}}, {{wp}}, [sp, #{self.at['out']}]")
        code.op(f"str {{t}}, [sp, #{self.at['next_out']}]", "where the next channels go")
        if shape.is_straight(pixels) and shape.kh == 1:
            code.op("ldr {xp}, [sp]")
        pairs, single = divmod(shape.channels, 2)
        if pairs:
            is_loop = pairs > 1
            if is_loop:
                code.constant("t", pairs * 8 * (self.has_starts + self.row_words + self.parameter_words))
                code.ops(["add {t}, {wp}", f"str {{t}}, [sp, #{self.at['next_stream']}]"])
            with self.measured(), code.loop("next pair of channels") as label:
                self.channels_of_block(pixels, 2)
                if is_loop:
                    code.ops([f"ldr {{x0}}, [sp, #{self.at['next_stream']}]", "cmp {wp}, {x0}", f"bne {label}"])
        if single:
            self.channels_of_block(pixels, 1)

    def channels_of_block(self, pixels: int, channels: int) -> None:
        """One or two channels of a block."""
        if not (self.shape.is_straight(pixels) and self.shape.kh == 1):
            self.code.op("ldr {xp}, [sp]")
        self.products_of_block(pixels, channels)
        self.store.write(pixels, channels, self.at["next_out"], self.store.channel_bytes(channels))

    def products_of_block(self, pixels: int, channels: int) -> int:
        """All products of a block; returns how far `xp` has gone since the first row of taps."""
        code, shape = self.code, self.shape
        names = "ab"[:channels]
        if self.has_starts:
            two = "ldrd {a0}, {b0}, [{wp}], #8"
            code.op(two if channels == 2 else "ldr {a0}, [{wp}], #4", "start values")
        self.is_first = shape.is_straight(pixels)
        if not self.is_first:
            start = "{{{name}0}}" if self.has_starts else "#0"
            first = 1 if self.has_starts else 0
            code.ops([f"mov {{{n}{p}}}, {start.format(name=n)}" for p in range(first, pixels) for n in names])
        if shape.kh == 1:
            return self.row_of_taps(pixels, channels)
        if self.is_first:
            for row in range(shape.kh):
                code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
                self.move_to_block()
                self.row_of_taps(pixels, channels)
            return 0
        slot = self.at["slot"]
        code.ops(["mov {x0}, sp", f"str {{x0}}, [sp, #{slot}]"])
        with code.loop("next row of taps") as label:
            code.ops([f"ldr {{x0}}, [sp, #{slot}]", "ldr {xp}, [{x0}], #4", f"str {{x0}}, [sp, #{slot}]"])
            self.move_to_block()
            self.row_of_taps(pixels, channels)
            code.ops([f"ldr {{x0}}, [sp, #{slot}]", f"add {{x1}}, sp, #{4 * shape.kh}", "cmp {x0}, {x1}"])
            code.op(f"bne {label}")
        return 0

    def move_to_block(self) -> None:
        """Where blocks are the inner loop the rows' pointers stay at the first one."""
        if self.shape.pairs_outside:
            self.code.ops([f"ldr {{x0}}, [sp, #{self.at['offset']}]", "add {xp}, {x0}"])

    def row_of_taps(self, pixels: int, channels: int) -> int:
        """The steps of one row of taps; returns how far `xp` has gone."""
        shape = self.shape
        passed, ahead = self.steps(self.step, shape.full_steps, 8, 0, pixels, channels)
        more, _ = self.steps(self.half_step, shape.half_steps, 4, ahead, pixels, channels)
        return passed + more

    def steps(self, write: Callable[[int, int, int], None], count: int, size: int, ahead: int, pixels: int,
              channels: int) -> tuple[int, int]:  # fmt: skip
        """`count` steps of `size` bytes of inputs that begin `ahead` of `xp`, straight or in a loop.

        Returns how far `xp` has gone, and where the inputs after these steps are from it.
        """
        code = self.code
        loop = self.shape.loop(count, step_bytes(size, pixels))
        passed = 0
        if loop.rounds:
            passed = size * loop.unroll * loop.rounds
            in_register = size == 4 and pixels < 4
            if in_register:
                code.constant("t", loop.rounds)
            else:
                code.constant("x0", passed)
                code.ops(["add {x0}, {xp}", f"str {{x0}}, [sp, #{self.at['run_end']}]"])
            with code.loop(f"next {loop.unroll} steps") as label:
                for step in range(loop.unroll):
                    write(pixels, channels, ahead + size * step)
                code.add("xp", size * loop.unroll, "x0")
                compare = [f"ldr {{x0}}, [sp, #{self.at['run_end']}]", "cmp {xp}, {x0}"]
                code.ops(["subs {t}, #1"] if in_register else compare)
                code.op(f"bne {label}")
        for step in range(loop.rest):
            write(pixels, channels, ahead + size * step)
        return passed, ahead + size * loop.rest

    def step(self, pixels: int, channels: int, offset: int) -> None:
        """Four inputs of each pixel by four weights of each channel."""
        code = self.code
        names = "ab"[:channels]
        self.load_weights(channels)
        for half, rotation in ((0, ""), (4, ", ror #8")):
            for pixel in range(pixels):
                code.op(f"ldr {{x{pixel}}}, [{{xp}}, #{offset + half + pixel * self.shape.pixel_bytes}]")
            for name in names:
                widened = "t" if half == 0 else f"w{name}"
                code.op(f"sxtb16 {{{widened}}}, {{w{name}}}{rotation}")
                self.products(name, range(pixels), widened)
            self.is_first = False

    def half_step(self, pixels: int, channels: int, offset: int) -> None:
        """Two inputs of each pixel by two weights of each channel; of four pixels the last two first."""
        code = self.code
        self.load_weights(channels)
        parts = (range(2, 4), range(2)) if pixels == 4 else (range(pixels),)
        for part in parts:
            for pixel in part:
                at = offset + pixel * self.shape.pixel_bytes
                code.op(f"ldr {{x{pixel - part.start}}}, [{{xp}}, #{at}]")
            for name in "ab"[:channels]:
                self.products(name, part, f"w{name}")
        self.is_first = False

    def load_weights(self, channels: int) -> None:
        """A word of weights of each channel."""
        pair = ["ldr {wa}, [{wp}], #8", "ldr {wb}, [{wp}, #-4]"]
        self.code.ops(pair if channels == 2 else ["ldr {wa}, [{wp}], #4"])

    def products(self, name: str, pixels: range, weights: str) -> None:
        """A pair of products for each pixel; the first add to the start value, which lies in pixel 0's register."""
        for pixel in reversed(pixels):
            x = f"{{x{pixel - pixels.start}}}"
            if self.is_first and not self.has_starts:
                self.code.op(f"smuad {{{name}{pixel}}}, {x}, {{{weights}}}")
            else:
                source = 0 if self.is_first else pixel
                self.code.op(f"smlad {{{name}{pixel}}}, {x}, {{{weights}}}, {{{name}{source}}}")

    def advance_slot(self, slot: str, by: int) -> None:
        """Add to a word of the frame."""
        self.code.op(f"ldr {{t}}, [sp, #{self.at[slot]}]")
        self.code.add("t", by, "x0")
        self.code.op(f"str {{t}}, [sp, #{self.at[slot]}]")

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Counts the code of a loop."""
        before = self.code.instructions
        yield
        written_bytes = (self.code.instructions - before) * INSTRUCTION_BYTES
        self.largest_loop_bytes = max(self.largest_loop_bytes, written_bytes)

    @contextmanager
    def counted(self, slot: str, count: int, purpose: str) -> Iterator[None]:
        """A loop of `count` rounds whose counter lies in the frame; none for a single round."""
        if count == 1:
            yield
            return
        code = self.code
        code.constant("t", count)
        code.op(f"str {{t}}, [sp, #{self.at[slot]}]")
        with code.loop(purpose) as label:
            yield
            code.ops([f"ldr {{t}}, [sp, #{self.at[slot]}]", "subs {t}, #1", f"str {{t}}, [sp, #{self.at[slot]}]"])
            code.op(f"bne {label}")
