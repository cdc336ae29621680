"""Assembly of Winograd's convolution: a block of tiles is transformed into scratch memory, then meets all channels.

For each pair of channels and each line of four products:

    pass 1      a = m1, kept                            (the line's start values are part of it)
    pass 2      a = m1 + m2; d = m1 - m2 = 2 m1 - a, kept
    pass 0      a = m1 + m2 + m0, the even column of the line
    pass 3      a = d + m3, the odd column

A pass is a dot product for two channels of all tiles of the block; its operands lie one after the other in the order
they are read. The lines of the planar form then meet in the same way, pixel by pixel: l1 + l2 + l0 and l1 - l2 + l3.
"""

from __future__ import annotations

from typing import ClassVar

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.conv2d.winograd_form import Shape
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import Rows

_REGISTERS = {
    "xp": "r0", "wp": "r1", "wa": "r2", "wb": "r3", "x0": "r12", "x1": "lr", "x2": "r7",
    "a0": "r4", "a1": "r5", "a2": "r6", "a3": "r7", "b0": "r8", "b1": "r9", "b2": "r10", "b3": "r11",
    # While inputs are transformed:
    "pa": "r0", "pb": "r1", "to": "r2", "end": "r3", "list": "r12",
    "v0": "r4", "v1": "r5", "v2": "r6", "v3": "r7", "d0": "r8", "d1": "r9", "d2": "r10", "d3": "r11",
    # While weights are transformed:
    "src": "r0", "dst": "r1", "t0": "r2", "t1": "r12", "t2": "lr",
    "w0": "r3", "w1": "r4", "w2": "r5", "w3": "r6", "w4": "r7", "w5": "r8", "w6": "r9", "w7": "r10", "w8": "r11",
    # While results are scaled and stored:
    "zp": "r0", "p0": "r2", "p1": "r3", "p2": "r4", "p3": "r5", "p4": "r6", "p5": "r7",
    "q0": "r8", "q1": "r9", "q2": "r10", "q3": "r11", "q4": "r12", "q5": "r1", "out": "lr",
}  # fmt: skip
_FREE = ("wa", "wb", "x0", "x1")
"""Registers that hold nothing between two passes."""
_PLANAR_ROWS = (1, 2, 2, 1, 0, 2, 3, 1)
"""The two rows that each line of the planar form is made of: d1 + d2, d2 - d1, d0 - d2, d3 - d1."""


def function(name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> Function:
    """`void name(const int16_t *const *rows, void *const *outs, const int32_t *stream, void *scratch)`."""
    return Writer(name, shape, requantization, y, title).write()


class Writer:
    """Frame, from the stack pointer: results of all lines, first products, row pointers, and the words named below."""

    MORE_WORDS: ClassVar[int] = 0
    """Of the frame, for a class derived from this one."""

    def __init__(self, name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> None:
        self.shape = shape
        self.form = requantization
        self.y = y
        self.line_bytes = 16 * shape.tiles
        self.rows = _PLANAR_ROWS if shape.planar else tuple(range(shape.rows))
        self.kept_at = self.line_bytes * shape.lines
        self.rows_at = self.kept_at + 8 * shape.tiles
        words = self.rows_at + 4 * len(self.rows)
        self.out_at, self.between_at, self.stream_at, self.scratch_at, self.pair_at, self.line_at, self.return_at, \
            self.pass_end_at, self.blocks_at, self.stream_end_at = (words + 4 * i for i in range(10))  # fmt: skip
        self.more_at = self.stream_end_at + 4
        frame = -(-(self.more_at + 4 * self.MORE_WORDS) // 8) * 8
        self.code = Assembly(name, title, _REGISTERS, frame)
        self.sums = [f"{name}{tile}" for tile in range(shape.tiles) for name in "ab"]
        self.pass_label = self.code.new_label()

    def write(self) -> Function:
        code, shape = self.code, self.shape
        self.begin()
        if shape.blocks > 1:
            self.count_blocks()
        with code.loop("next block of tiles") as label:
            code.op(f"ldr {{to}}, [sp, #{self.scratch_at}]")
            self.transform()
            self.channels()
            if shape.blocks > 1:
                self.advance(label, [(self.rows_at + 4 * slot, "d1") for slot in range(len(self.rows))]
                             + [(self.out_at, "d2")])  # fmt: skip
        prototype = f"void {code.name}(const int16_t *const *rows, void *const *outs, const int32_t *stream,"
        return code.function(f"{prototype} void *scratch)")

    def begin(self) -> None:
        """The shared pass, and arguments into the frame."""
        code, shape = self.code, self.shape
        start = code.new_label()
        code.op(f"b {start}")
        self.products()
        code.place(start, "start")
        for slot, row in enumerate(self.rows):
            code.op(f"ldr {{x0}}, [r0, #{4 * row}]", "rows" if slot == 0 else "")
            code.op(f"str {{x0}}, [sp, #{self.rows_at + 4 * slot}]")
        code.ops(["ldr {x0}, [r1]", f"str {{x0}}, [sp, #{self.out_at}]"])
        if shape.planar:
            code.op("ldr {x1}, [r1, #4]")
            code.ops(["sub {x1}, {x0}", f"str {{x1}}, [sp, #{self.between_at}]"])
        code.op(f"strd r2, r3, [sp, #{self.stream_at}]", "stream, scratch")

    def count_blocks(self) -> None:
        self.code.ops([f"movw {{x0}}, #{self.shape.blocks}", f"str {{x0}}, [sp, #{self.blocks_at}]"])

    def products(self) -> None:
        """The pass that all products share: `steps` words of two channels' weights by those of all tiles."""
        code, shape = self.code, self.shape
        code.place(self.pass_label, "one product of all tiles")
        code.op(f"str lr, [sp, #{self.return_at}]")
        unroll = shape.unroll
        if unroll < shape.steps:
            code.op("mov {wa}, {xp}")
            code.add("wa", shape.pass_bytes, "wb")
            code.op(f"str {{wa}}, [sp, #{self.pass_end_at}]")
        with code.loop(f"next {unroll} words" if unroll < shape.steps else "all words") as label:
            for _ in range(unroll):
                self.step()
            if unroll < shape.steps:
                code.ops([f"ldr {{wa}}, [sp, #{self.pass_end_at}]", "cmp {xp}, {wa}", f"bne {label}"])
        code.op(f"ldr pc, [sp, #{self.return_at}]")

    def step(self) -> None:
        """Two inputs of each tile by two weights of each channel."""
        code, tiles = self.code, self.shape.tiles
        code.ops(["ldr {wb}, [{wp}, #4]", "ldr {wa}, [{wp}], #8"])
        at_once = tiles if tiles <= 3 else 2
        for first in range(0, tiles, at_once):
            group = range(first, min(first + at_once, tiles))
            for tile in group:
                past = f", #{4 * (tile - tiles)}]" if tile else f"], #{4 * tiles}"
                code.op(f"ldr {{x{tile - first}}}, [{{xp}}{past}")
            for tile in group:
                for name in "ab":
                    code.op(f"smlad {{{name}{tile}}}, {{x{tile - first}}}, {{w{name}}}, {{{name}{tile}}}")

    def transform(self) -> None:
        """The block's inputs at `to`: for each product, in its weights' order, words of all tiles side by side."""
        code, shape = self.code, self.shape
        code.op(f"add {{list}}, sp, #{self.rows_at}")
        load = "ldrd {pa}, {pb}, [{list}], #8" if shape.planar else "ldr {pa}, [{list}], #4"
        if shape.planar:
            code.op(load)
            self.line("shadd16")
        if shape.planar or shape.rows > 1:
            with code.loop("next row of the transformed inputs") as label:
                code.op(load)
                self.line("shsub16" if shape.planar else "")
                code.ops([f"add {{d0}}, sp, #{self.rows_at + 4 * len(self.rows)}", "cmp {list}, {d0}", f"bne {label}"])
        else:
            code.op(load)
            self.line("")

    def line(self, join: str) -> None:
        """One row of transformed inputs; `join` makes it of two rows where the form is planar."""
        code, shape = self.code, self.shape
        code.op("mov {end}, {to}")
        code.add("end", 4 * shape.row_words * shape.tiles, "d0")
        with code.loop("next pair of input channels") as label:
            self.columns(join, 0, ("v0", "v1"))
            left, right = ("v0", "v1"), ("v2", "v3")
            for tile in range(shape.tiles):
                self.columns(join, 2 * tile + 2, right)
                code.ops([
                    f"shadd16 {{d0}}, {{{left[1]}}}, {{{right[0]}}}", f"shsub16 {{d1}}, {{{right[0]}}}, {{{left[1]}}}",
                    f"shsub16 {{d2}}, {{{left[0]}}}, {{{right[0]}}}", f"shsub16 {{d3}}, {{{right[1]}}}, {{{left[1]}}}",
                ])  # fmt: skip
                for slot in range(4):
                    at = slot * shape.pass_bytes + 4 * (tile - shape.tiles)
                    past = f"], #{4 * shape.tiles}" if slot == tile == 0 else f", #{at}]"
                    code.op(f"str {{d{slot}}}, [{{to}}{past}")
                left, right = right, left
            code.ops(["cmp {to}, {end}", f"bne {label}"])
        if shape.planar:
            code.add("to", 3 * shape.pass_bytes, "d0")

    def columns(self, join: str, column: int, names: tuple[str, str]) -> None:
        """A pair of channels of two columns, halved where they are joined from two rows."""
        code = self.code
        sources = [(f"d{2 * i}", f"d{2 * i + 1}") for i in range(2)] if join else [(name,) for name in names]
        for i, registers in enumerate(sources):
            for register, pointer in zip(registers, ("pa", "pb"), strict=False):
                past = f", #{(column + i) * self.shape.pixel_bytes - 4}]" if column + i else "], #4"
                code.op(f"ldr {{{register}}}, [{{{pointer}}}{past}")
        if join:
            code.ops([f"{join} {{{name}}}, {{d{2 * i}}}, {{d{2 * i + 1}}}" for i, name in enumerate(names)])

    def channels(self) -> None:
        """All channels of the transformed block."""
        code, shape = self.code, self.shape
        code.op(f"ldr {{wp}}, [sp, #{self.stream_at}]")
        code.ops([f"ldr {{wa}}, [sp, #{self.out_at}]", f"str {{wa}}, [sp, #{self.pair_at}]"])
        pair_words = shape.pair_words + 2 * self.form.parameters.shape[1]
        if shape.outputs > 2:
            code.constant("wa", 2 * pair_words * shape.outputs)
            code.ops(["add {wa}, {wp}", f"str {{wa}}, [sp, #{self.stream_end_at}]"])
        with code.loop("next pair of channels") as label:
            code.op(f"ldr {{xp}}, [sp, #{self.scratch_at}]")
            self.lines()
            self.results()
            code.op(f"ldr {{wp}}, [sp, #{self.line_at}]")
            self.next_channels(self.pair_at)
            if shape.outputs > 2:
                code.ops([f"ldr {{wa}}, [sp, #{self.stream_end_at}]", "cmp {wp}, {wa}", f"bne {label}"])

    def lines(self) -> None:
        """All lines of products of a block for two channels, from `xp` and `wp`."""
        code, shape = self.code, self.shape
        if not shape.planar:
            self.products_of_line()
            return
        code.op(f"str sp, [sp, #{self.line_at}]", "where results of the first line go")
        with code.loop("next line of products") as line:
            self.products_of_line()
            code.ops([f"add {{wb}}, sp, #{self.line_bytes * shape.lines}", "cmp {wa}, {wb}", f"bne {line}"])

    def products_of_line(self) -> None:
        """Four passes, and what becomes of their sums."""
        code = self.code
        code.ops(["ldr {b0}, [{wp}, #4]", "ldr {a0}, [{wp}], #8"])
        code.ops([f"mov {{{name}}}, {{{name[0]}0}}" for name in self.sums[2:]])
        kept = {name: self.kept_at + 4 * i for i, name in enumerate(self.sums)}
        code.op(f"bl {self.pass_label}")
        code.ops([f"str {{{name}}}, [sp, #{at}]" for name, at in kept.items()])
        code.op(f"bl {self.pass_label}")
        for first in range(0, len(self.sums), len(_FREE)):
            group = list(zip(_FREE, self.sums[first : first + len(_FREE)], strict=False))
            code.ops([f"ldr {{{free}}}, [sp, #{kept[name]}]" for free, name in group])
            code.ops([f"rsb {{{free}}}, {{{name}}}, {{{free}}}, lsl #1" for free, name in group])
            code.ops([f"str {{{free}}}, [sp, #{kept[name]}]" for free, name in group])
        code.op(f"bl {self.pass_label}")
        self.keep(0)
        code.ops([f"ldr {{{name}}}, [sp, #{at}]" for name, at in kept.items()])
        code.op(f"bl {self.pass_label}")
        self.keep(1)
        if self.shape.planar:
            code.ops([f"add {{wa}}, #{self.line_bytes}", f"str {{wa}}, [sp, #{self.line_at}]"])

    def keep(self, column: int) -> None:
        """The line's results of the even or odd columns, as `results` reads them."""
        code = self.code
        if self.shape.planar:
            code.op(f"ldr {{wa}}, [sp, #{self.line_at}]")
        base = "{wa}" if self.shape.planar else "sp"
        for i, name in enumerate(self.sums):
            code.op(f"str {{{name}}}, [{base}, #{16 * (i // 2) + 8 * column + 4 * (i % 2)}]")

    def results(self) -> None:
        """Join the lines, scale and store, pixel by pixel."""
        code, pixels = self.code, self.shape.block_columns
        count = 2 * self.form.parameters.shape[1]
        code.op("ldmia {wp}!, {{" + ", ".join(f"{{p{i}}}" for i in range(count)) + "}}", "multipliers, offsets")
        code.op(f"str {{wp}}, [sp, #{self.line_at}]")
        code.ops([f"ldr {{out}}, [sp, #{self.pair_at}]", "mov {zp}, sp"])
        unroll = 2 if self.shape.loop_bytes >= 4096 else 1
        with code.loop(f"next {unroll} pixels") as label:
            for pixel in range(unroll):
                self.pixel(8 * pixel)
                code.add("out", self.y.pixel_bytes, "q0")
            code.op(f"add {{zp}}, #{8 * unroll}")
            code.ops([f"add {{q0}}, sp, #{8 * pixels}", "cmp {zp}, {q0}", f"bne {label}"])

    def next_channels(self, slot: int) -> None:
        """The pointer in a slot of the frame, to where the next two channels' results go."""
        code, layout = self.code, self.form.layout
        code.op(f"ldr {{wa}}, [sp, #{slot}]")
        channel_bytes = self.y.plane_bytes if layout.planes else 2 if layout.fraction_bits is not None else 1
        code.add("wa", 2 * channel_bytes, "wb")
        code.op(f"str {{wa}}, [sp, #{slot}]")

    def pixel(self, at: int) -> None:
        """Two channels of one pixel, or of the two pixels of a column where the form is planar."""
        code, count = self.code, self.form.parameters.shape[1]
        if not self.shape.planar:
            code.ops([f"ldr {{q2}}, [{{zp}}, #{at}]", f"ldr {{q4}}, [{{zp}}, #{at + 4}]"])
            self.scale("q2", 0, count)
            self.scale("q4", count, count)
            self.store("q2", "q4", "out")
            return
        # Lines l1, l2, l0, l3 of a channel; the first result ends in the third register, the second in the fourth.
        for channel, (l1, l2, l0, l3) in enumerate((("q0", "q1", "q2", "q3"), ("q0", "q1", "q4", "q5"))):
            for line, name in enumerate((l1, l2, l0, l3)):
                code.op(f"ldr {{{name}}}, [{{zp}}, #{at + line * self.line_bytes + 4 * channel}]")
            code.ops([f"add {{{l0}}}, {{{l1}}}", f"add {{{l0}}}, {{{l2}}}"])
            code.ops([f"sub {{{l1}}}, {{{l2}}}", f"add {{{l3}}}, {{{l1}}}"])
            for name in (l0, l3):
                self.scale(name, channel * count, count)
        # The lower row first: past the last row of an odd number it has the same place as the upper one.
        code.ops([f"ldr {{q0}}, [sp, #{self.between_at}]", "add {q0}, {out}"])
        self.store("q3", "q5", "q0")
        self.store("q2", "q4", "out")

    def scale(self, name: str, first: int, count: int) -> None:
        self.form.scale(self.code, name, f"p{first}", f"p{first + 1}", f"p{first + count - 1}")

    def store(self, a: str, b: str, base: str) -> None:
        """Two channels of a pixel, by the layout of the results."""
        code, bits = self.code, self.form.layout.fraction_bits
        if self.form.layout.planes:
            code.op(f"strb {{{a}}}, [{{{base}}}]")
            if self.y.plane_bytes > 4095:
                code.constant("q1", self.y.plane_bytes)
                code.op(f"strb {{{b}}}, [{{{base}}}, {{q1}}]")
            else:
                code.op(f"strb {{{b}}}, [{{{base}}}, #{self.y.plane_bytes}]")
        elif bits is None:
            code.ops([f"strb {{{a}}}, [{{{base}}}]", f"strb {{{b}}}, [{{{base}}}, #1]"])
        elif self.form.low == 0:
            code.op(f"pkhbt {{{a}}}, {{{a}}}, {{{b}}}, lsl #16", "two values, none negative")
            code.ops([f"lsl {{{a}}}, #{bits}", f"str {{{a}}}, [{{{base}}}]"])
        else:
            code.ops([f"lsl {{{a}}}, #{bits}", f"lsl {{{b}}}, #{bits}"])
            code.ops([f"strh {{{a}}}, [{{{base}}}]", f"strh {{{b}}}, [{{{base}}}, #2]"])

    def advance(self, label: str, moved: list[tuple[int, str]]) -> None:
        """To the next block, if there is one: words of the frame move by a block's pixels of x (d1) or of y (d2)."""
        code, shape = self.code, self.shape
        last = shape.last_advance != shape.block_columns
        code.ops([f"ldr {{d0}}, [sp, #{self.blocks_at}]", "subs {d0}, #1", f"str {{d0}}, [sp, #{self.blocks_at}]"])
        end = code.new_label()
        code.op(f"beq {end}")
        for name, pixel_bytes in (("d1", shape.pixel_bytes), ("d2", self.y.pixel_bytes)):
            code.constant(name, shape.block_columns * pixel_bytes)
        if last:
            code.ops(["cmp {d0}, #1", "itt eq", f"movweq {{d1}}, #{shape.last_advance * shape.pixel_bytes}",
                      f"movweq {{d2}}, #{shape.last_advance * self.y.pixel_bytes}"])  # fmt: skip
        for first in range(0, len(moved), 4):
            group = list(zip(("v0", "v1", "v2", "v3"), moved[first : first + 4], strict=False))
            code.ops([f"ldr {{{name}}}, [sp, #{at}]" for name, (at, _) in group])
            code.ops([f"add {{{name}}}, {{{by}}}" for name, (_, by) in group])
            code.ops([f"str {{{name}}}, [sp, #{at}]" for name, (at, _) in group])
        code.op(f"b {label}")
        code.place(end, "end of the row")
