"""The assembly of convolutions on widened rows (`wide` says what it reads and in which order)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.conv2d.wide import INSTRUCTION_BYTES, Shape, Step, pair_words
from midge.kernels.conv2d.wide_steps import Steps
from midge.kernels.conv2d.wide_store import Store
from midge.kernels.results_armv7em import Results
from midge.kernels.view import Rows

_REGISTERS = {
    "xp": "r0", "wp": "r1", "a0": "r4", "a1": "r5", "a2": "r6", "b0": "r7", "b1": "r8", "b2": "r9",
    "wa": "r2", "wb": "r3", "x0": "r10", "x1": "r11", "x2": "r12", "t": "lr",
}  # fmt: skip
_LONG_REGISTERS = {
    "xp": "r0", "wp": "r1", "a0": "r4", "a0h": "r5", "a1": "r6", "a1h": "r7", "b0": "r8", "b0h": "r9", "b1": "r10",
    "b1h": "r11", "wa": "r2", "wb": "r3", "x0": "r12", "x1": "lr", "t": "lr",
}  # fmt: skip
"""Of sums of 64 bits; `t` is for what stands between the blocks."""
_SHARED = {"a3": "x2", "b3": "t", "c0": "a2", "c1": "b2", "d0": "x2", "d1": "t"}
"""The accumulators of a block's fourth pixel, or of its third and fourth channel, lie where other blocks have these."""
_LEAST_STEPS_BYTES = 20
_SLOTS = ("out", "stream", "next_out", "next_stream", "slot", "run_end", "blocks", "pairs", "offset")


def function(name: str, shape: Shape, requantization: Results, y: Rows, title: str) -> Function:
    """The function `void name(const int16_t *const *rows, void *out, const int32_t *stream)`."""
    while True:
        writer = _Writer(name, shape, requantization, y, title)
        written = writer.write()
        too_many = writer.largest_loop_bytes - shape.loop_bytes
        if too_many <= 0 or shape.steps_bytes <= _LEAST_STEPS_BYTES:
            return written
        shape = replace(shape, steps_bytes=max(shape.steps_bytes - too_many, _LEAST_STEPS_BYTES))


class _Writer:
    """Frame, from the stack pointer: row pointers, then `_SLOTS`.

    `out` and `stream` are those of the first block and pair in the outer loop, `next_out` and `next_stream` those of
    the inner loop; `offset` is that of the block in its rows.
    """

    def __init__(self, name: str, shape: Shape, requantization: Results, y: Rows, title: str) -> None:
        self.shape = shape
        self.y = y
        self.at = {slot: 4 * (shape.kh + index) for index, slot in enumerate(_SLOTS)}
        self.largest_loop_bytes = 0
        """Code of the largest loop over pairs of channels."""
        plain = _REGISTERS | {name: _REGISTERS[other] for name, other in _SHARED.items()}
        registers = _LONG_REGISTERS if shape.is_long else plain
        self.code = Assembly(name, title, registers, -(-4 * (shape.kh + len(_SLOTS)) // 8) * 8)
        self.has_starts, self.row_words, self.parameter_words = pair_words(shape, requantization)
        self.pair_bytes = 8 * (self.has_starts + self.row_words + self.parameter_words)
        self.steps = Steps(self.code, shape, self.pair_bytes, has_starts=bool(self.has_starts))
        self.store = Store(self.code, requantization, y, self.pair_bytes, is_long=shape.is_long)

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
        left = shape.channels
        for size in (4, 2, 1) if pixels == 2 and shape.takes_quads else (2, 1):
            count, left = divmod(left, size)
            self.blocks_of_channels(pixels, size, count)

    def blocks_of_channels(self, pixels: int, channels: int, count: int) -> None:
        """`count` times so many channels of a block of pixels."""
        code = self.code
        if not count:
            return
        keeps_inputs = self.shape.is_straight(pixels, channels) and self.shape.kh == 1
        if keeps_inputs:
            code.op("ldr {xp}, [sp]")
        if count > self.shape.blocks_together(pixels, channels, count):
            code.constant("t", count * channels // 2 * self.pair_bytes)
            code.ops(["add {t}, {wp}", f"str {{t}}, [sp, #{self.at['next_stream']}]"])
        together = self.shape.blocks_together(pixels, channels, count)
        with self.measured(), code.loop(f"next {channels * together} channels") as label:
            for index in range(together):
                if not keeps_inputs:
                    code.op("ldr {xp}, [sp]")
                self.products_of_block(pixels, channels)
                is_last = index == together - 1
                passed = self.store.channel_bytes(channels * index)
                advance = self.store.channel_bytes(channels * together) if is_last else None
                self.store.write(pixels, channels, self.at["next_out"], advance, passed)
            if count > together:
                code.ops([f"ldr {{x0}}, [sp, #{self.at['next_stream']}]", "cmp {wp}, {x0}", f"bne {label}"])

    def products_of_block(self, pixels: int, channels: int) -> int:
        """All products of a block; returns how far `xp` has gone since the first row of taps."""
        code, shape = self.code, self.shape
        is_straight = shape.is_straight(pixels, channels)
        self.steps.begin(pixels, channels, is_straight=is_straight)
        if shape.kh == 1:
            return self.row_of_taps(pixels, channels)
        if is_straight:
            for row in range(shape.kh):
                code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
                self.move_to_block()
                self.row_of_taps(pixels, channels)
        else:
            self.loop_of_rows(pixels, channels)
        return 0

    def loop_of_rows(self, pixels: int, channels: int) -> None:
        """Rows of taps, some of them in each round; where `t` is free it goes along the rows' pointers."""
        code, shape = self.code, self.shape
        together = shape.rows_together(pixels, channels)
        in_register = together and shape.leaves_register(pixels, channels)
        slot, pointer = self.at["slot"], "t" if in_register else "x0"
        code.op(f"mov {{{pointer}}}, sp")
        if not in_register:
            code.op(f"str {{x0}}, [sp, #{slot}]")
        with code.loop("next rows of taps") as label:
            for _ in range(max(1, together)):
                keep, load = f"str {{x0}}, [sp, #{slot}]", f"ldr {{x0}}, [sp, #{slot}]"
                advance = f"ldr {{xp}}, [{{{pointer}}}], #4"
                code.ops([advance] if in_register else [load, advance, keep])
                self.move_to_block()
                self.row_of_taps(pixels, channels)
            if not in_register:
                code.op(f"ldr {{x0}}, [sp, #{slot}]")
            code.ops([f"add {{x1}}, sp, #{4 * shape.kh}", f"cmp {{{pointer}}}, {{x1}}", f"bne {label}"])

    def move_to_block(self) -> None:
        """Where blocks are the inner loop the rows' pointers stay at the first one."""
        if self.shape.pairs_outside:
            self.code.ops([f"ldr {{x0}}, [sp, #{self.at['offset']}]", "add {xp}, {x0}"])

    def row_of_taps(self, pixels: int, channels: int) -> int:
        """The steps of one row of taps; returns how far `xp` has gone."""
        passed = ahead = 0
        for step, count in self.shape.steps:
            more, ahead = self.run(step, count, ahead, pixels, channels)
            passed += more
        return passed

    def run(self, step: Step, count: int, ahead: int, pixels: int, channels: int) -> tuple[int, int]:
        """`count` steps of inputs that begin `ahead` of `xp`, straight or in a loop.

        Returns how far `xp` has gone, and where the inputs after these steps are from it.
        """
        code = self.code
        loop = self.shape.loop(count, step.code_bytes(pixels, channels))
        passed = step.bytes * loop.unroll * loop.rounds
        if loop.rounds:
            in_register = self.shape.leaves_register(pixels, channels)
            if in_register:
                code.constant("t", loop.rounds)
            else:
                code.constant("x0", passed)
                code.ops(["add {x0}, {xp}", f"str {{x0}}, [sp, #{self.at['run_end']}]"])
            with code.loop(f"next {loop.unroll} steps") as label:
                for index in range(loop.unroll):
                    self.steps.write(step, pixels, channels, ahead + step.bytes * index)
                code.add("xp", step.bytes * loop.unroll, "x0")
                compare = [f"ldr {{x0}}, [sp, #{self.at['run_end']}]", "cmp {xp}, {x0}"]
                code.ops(["subs {t}, #1"] if in_register else compare)
                code.op(f"bne {label}")
        for index in range(loop.rest):
            self.steps.write(step, pixels, channels, ahead + step.bytes * index)
        return passed, ahead + step.bytes * loop.rest

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
