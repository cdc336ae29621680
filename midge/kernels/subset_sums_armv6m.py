"""Assembly of convolutions and fully connected layers without multiplications (`subsets_armv6m`, `digits_armv6m`).

For a pair of neighbouring pixels (or a single one): their inputs are put side by side in words; then for each chunk of
taps the tables are made, and each channel adds up its eight planes of bits from them. The last pair of an odd row
begins a pixel earlier, and makes one result again.

Scratch memory holds the tables of a chunk, the words of inputs, and, where there is more than one chunk, the sums of
all channels so far.

The stream holds for each chunk and channel the indices (`Subsets.indices`), and in the last chunk behind them what
the channel's requantisation needs (`digits_code_armv6m`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly_armv6m import ThumbAssembly
from midge.kernels.base import Function, Layout
from midge.kernels.digits_armv6m import DigitScaling
from midge.kernels.digits_code_armv6m import DigitCode
from midge.kernels.dots_armv6m import Shape
from midge.kernels.subsets_armv6m import PLANES, Subsets
from midge.kernels.view import Rows

_REGISTERS = {
    "wp": "r0", "table": "r1", "i": "r2", "w0": "r3", "w1": "r4", "stride": "r5",
    "s7": "r6", "s5": "r7", "s0": "r8", "s1": "r9", "s2": "r10", "s3": "r11", "s4": "r12", "s6": "lr",
    "t1": "r1", "t2": "r2", "acc0": "r3", "acc1": "r4", "t5": "r5", "t6": "r6", "t7": "r7", "kept": "r8",
    "p": "r0", "q": "r1", "words": "r2", "x0": "r3", "x1": "r4", "x2": "r5", "x3": "r6", "x": "r7", "end": "r8",
    "entry": "r0", "word": "r1", "b": "r1", "e1": "r2", "e2": "r3", "e3": "r4", "v01": "r5", "v0": "r6", "v1": "r7",
    "d0": "r8", "d1": "r9", "d2": "r10", "d3": "r11", "d4": "r12", "at": "r12", "half": "lr",
}  # fmt: skip
_MOST_UNROLLED = 8
"""Inputs that a turn of the loop puts side by side."""
_WORDS = 4
"""Words stored at once: a multiple of it keeps loops short."""
_SUM_BYTES = 4


@dataclass(frozen=True, slots=True, eq=False)
class SubsetLayer:
    """A layer's weights and requantisation. `starts`: what sums of products with q + 128 start at."""

    subsets: Subsets
    scaling: DigitScaling
    starts: np.ndarray

    @property
    def key(self) -> str:
        """What code depends on but the shape, for a function's name."""
        return f"g{self.subsets.groups}x{self.subsets.chunks}_{self.scaling.key}"

    @property
    def lanes(self) -> int:
        return 2 if self.subsets.is_paired else 1

    @property
    def word_bytes(self) -> int:
        """The words of inputs, those past the last tap included."""
        return 4 * -(-self.subsets.padded_taps // _WORDS) * _WORDS

    @property
    def scratch_bytes(self) -> int:
        sums = _SUM_BYTES * self.lanes * len(self.starts) if self.subsets.chunks > 1 else 0
        return self.subsets.table_bytes + self.word_bytes + sums

    def stream(self) -> np.ndarray:
        """uint8: all that the code reads, in order."""
        indices = self.subsets.indices().reshape(self.subsets.chunks, len(self.starts), -1)
        last = np.concatenate([indices[-1], self.scaling.parameters(self.starts)], axis=1)
        return np.concatenate([indices[:-1].reshape(-1), last.reshape(-1)])


def function(name: str, shape: Shape, layer: SubsetLayer, layout: Layout, y: Rows, title: str) -> Function:
    """`void name(const uint8_t *const *rows, void *out, const uint8_t *stream, void *scratch)`."""
    return _Writer(name, shape, layer, layout, y, title).write()


class _Writer:
    """Frame: row pointers, then the slots named in `__init__`."""

    def __init__(self, name: str, shape: Shape, layer: SubsetLayer, layout: Layout, y: Rows, title: str) -> None:
        self.shape, self.layer, self.layout, self.y = shape, layer, layout, y
        names = ("out", "stream", "scratch", "turns", "channel_out", "last_out", "words_end", "indices", "sums",
                 "chunks", "at")  # fmt: skip
        self.slots = {name: 4 * (shape.kh + index) for index, name in enumerate(names)}
        self.code = ThumbAssembly(name, title, _REGISTERS, 4 * (shape.kh + len(names)))

    def load(self, register: str, slot: str) -> None:
        self.code.op(f"ldr {{{register}}}, [sp, #{self.slots[slot]}]")

    def store(self, register: str, slot: str) -> None:
        self.code.op(f"str {{{register}}}, [sp, #{self.slots[slot]}]")

    def write(self) -> Function:
        code, columns, lanes = self.code, self.shape.columns, self.layer.lanes
        for row in range(self.shape.kh):
            code.ops(["ldmia r0!, {{r4}}", f"str r4, [sp, #{4 * row}]"])
        code.ops([f"str r1, [sp, #{self.slots['out']}]", f"str r2, [sp, #{self.slots['stream']}]",
                  f"str r3, [sp, #{self.slots['scratch']}]"])  # fmt: skip
        turns = -(-columns // lanes)
        if turns == 1:
            self.pixels()
        else:
            code.constant("x0", turns)
            self.store("x0", "turns")
            with code.repeat("next pixels"):
                self.pixels()
                self.advance(is_odd=bool(columns % lanes))
        return code.function(
            f"void {code.name}(const uint8_t *const *rows, void *out, const uint8_t *stream, void *scratch)"
        )

    def advance(self, *, is_odd: bool) -> None:
        """To the next pair; of an odd row's last one the first pixel is that of the pair before."""
        code, shape, lanes = self.code, self.shape, self.layer.lanes
        self.load("x3", "turns")
        code.op("subs {x3}, #1")
        self.store("x3", "turns")
        steps = ((shape.pixel_bytes, "x0"), (self.y.pixel_bytes, "x1"))
        for step, register in steps:
            code.constant(register, step * lanes)
        if is_odd:
            code.op("cmp {x3}, #1")
            with code.skip("bne"):
                for step, register in steps:
                    code.constant(register, step)
        for row in range(shape.kh):
            code.ops([f"ldr {{x2}}, [sp, #{4 * row}]", "adds {x2}, {x2}, {x0}", f"str {{x2}}, [sp, #{4 * row}]"])
        self.load("x2", "out")
        code.op("adds {x2}, {x2}, {x1}")
        self.store("x2", "out")
        code.op("cmp {x3}, #0")

    def pixels(self) -> None:
        """All channels of a pair of pixels, or of one."""
        code, subsets = self.code, self.layer.subsets
        self.side_by_side()
        self.load("t1", "stream")
        self.store("t1", "indices")
        self.load("t1", "scratch")
        code.add("t1", self.layer.subsets.table_bytes, "t2")
        self.store("t1", "words_end")
        if subsets.chunks == 1:
            self.chunk()
            return
        code.add("t1", self.layer.word_bytes, "t2")
        self.no_sums()
        code.constant("t2", subsets.chunks)
        self.store("t2", "chunks")
        with code.repeat("next chunk"):
            self.chunk()
            self.load("t2", "chunks")
            code.op("subs {t2}, #1")
            self.store("t2", "chunks")

    def no_sums(self) -> None:
        """The sums of all channels are 0: they begin at t1."""
        code, words = self.code, self.layer.lanes * self.shape.channels
        code.op("movs {t5}, #0")
        code.constant("t2", _SUM_BYTES * words)
        with code.repeat("next sum"):
            code.ops([f"subs {{t2}}, #{_SUM_BYTES}", "str {t5}, [{t1}, {t2}]", "cmp {t2}, #0"])

    def chunk(self) -> None:
        """A chunk's products with the weights of all channels."""
        code, subsets = self.code, self.layer.subsets
        self.load("t1", "words_end")
        code.op("mov {at}, {t1}")
        code.add("t1", 4 * subsets.chunk_taps, "t2")
        self.store("t1", "words_end")
        self.tables()
        self.channels()

    def side_by_side(self) -> None:
        """The inputs of all taps, a word each."""
        code, shape = self.code, self.shape
        self.load("words", "scratch")
        code.add("words", self.layer.subsets.table_bytes, "x0")
        for row in range(shape.kh):
            code.op(f"ldr {{p}}, [sp, #{4 * row}]", "row")
            if self.layer.lanes > 1:
                code.op("movs {q}, {p}")
                code.add("q", shape.pixel_bytes, "x0")
            turns, rest = divmod(shape.run, _MOST_UNROLLED)
            if turns > 1:
                code.constant("x0", turns * _MOST_UNROLLED)
                code.ops(["adds {x0}, {x0}, {p}", "mov {end}, {x0}"])
                with code.repeat(f"next {_MOST_UNROLLED} inputs"):
                    self.inputs(_MOST_UNROLLED)
                    self.move(_MOST_UNROLLED)
                    code.op("cmp {p}, {end}")
            elif turns:
                rest += _MOST_UNROLLED
            self.inputs(rest)

    def move(self, count: int) -> None:
        self.code.op(f"adds {{p}}, #{count}")
        if self.layer.lanes > 1:
            self.code.op(f"adds {{q}}, #{count}")

    def inputs(self, count: int) -> None:
        code = self.code
        for first in range(0, count, _WORDS):
            names = [f"x{index}" for index in range(min(_WORDS, count - first))]
            for index, name in enumerate(names):
                code.op(f"ldrb {{{name}}}, [{{p}}, #{first + index}]")
                if self.layer.lanes > 1:
                    code.ops([f"ldrb {{x}}, [{{q}}, #{first + index}]", "lsls {x}, {x}, #16"])
                else:
                    code.op(f"lsls {{x}}, {{{name}}}, #16")
                code.op(f"orrs {{{name}}}, {{x}}")
            code.op("stmia {words}!, {{" + ", ".join(f"{{{name}}}" for name in names) + "}}")

    def tables(self) -> None:
        """Of each group of the chunk: four words at a time, by steps to the next four."""
        code, is_paired = self.code, self.layer.subsets.is_paired
        self.load("entry", "scratch")
        with code.repeat("next table"):
            code.op("mov {word}, {at}")
            if not is_paired:
                code.ops(["ldmia {word}!, {{r2}}", "lsls r2, r2, #16", "mov {half}, r2"])
            code.op("ldmia {word}!, {{r2-r7}}")
            if is_paired:
                code.op("mov {at}, {word}")
            else:
                code.ops(["mov {d4}, r2", *(f"add {{d4}}, r{number}" for number in (3, 4, 5))])
            code.ops(["mov {d0}, r2", "subs r5, r5, r4", "subs r5, r5, r3", "subs r5, r5, r2", "mov {d3}, r5",
                      "subs r4, r4, r3", "subs r4, r4, r2", "mov {d2}, r4", "subs r3, r3, r2",
                      "mov {d1}, r3"])  # fmt: skip
            if not is_paired:
                code.ops(["ldmia {word}!, {{r2}}", "mov r3, {d4}", "subs r2, r2, r3", "mov {d4}, r2"])
                self.store("word", "at")
            code.ops(["adds {v01}, {v0}, {v1}", "movs {b}, #0" if is_paired else "mov {b}, {half}"])
            for block in range(self.layer.subsets.group.table_bytes // 16):
                if block:
                    code.op(f"add {{b}}, {{d{(block & -block).bit_length() - 1}}}")
                code.ops(["adds {e1}, {b}, {v0}", "adds {e2}, {b}, {v1}", "adds {e3}, {b}, {v01}",
                          "stmia {entry}!, {{{b}, {e1}, {e2}, {e3}}}"])  # fmt: skip
            if not is_paired:
                self.load("e1", "at")
                code.op("mov {at}, {e1}")
            self.load("x1", "words_end")
            code.op("cmp {at}, {x1}")

    def channels(self) -> None:
        """The tables of a chunk and the weights of all channels: results, or sums where chunks are to come."""
        code, layer = self.code, self.layer
        channel_step = self.y.plane_bytes if self.layout.planes else 1
        self.load("t1", "out")
        self.store("t1", "channel_out")
        code.constant("t2", channel_step * self.shape.channels)
        code.op("adds {t1}, {t1}, {t2}")
        self.store("t1", "last_out")
        if layer.subsets.chunks > 1:
            self.load("t1", "scratch")
            code.add("t1", layer.subsets.table_bytes + layer.word_bytes, "t2")
            self.store("t1", "sums")
        self.load("wp", "indices")
        with code.repeat("next channel"):
            self.dot()
            self.put_together()
            end = self.sum_chunks() if layer.subsets.chunks > 1 else ""
            DigitCode(code, layer.scaling, layer.lanes, self.layout.excess).write()
            self.load("t1", "channel_out")
            self.store_results()
            if end:
                code.place(end, "sum or result is stored")
                self.load("t1", "channel_out")
            code.add("t1", channel_step, "t2")
            self.store("t1", "channel_out")
            self.load("t2", "last_out")
            code.op("cmp {t1}, {t2}")
        if layer.subsets.chunks > 1:
            self.store("wp", "indices")

    def dot(self) -> None:
        """Sums of all planes of bits."""
        code, is_paired = self.code, self.layer.subsets.is_paired
        self.load("table", "scratch")
        code.constant("stride", self.layer.subsets.group.table_bytes)
        for group in range(self.layer.subsets.groups):
            if group:
                code.op("add {table}, {stride}")
            code.op("ldmia {wp}!, {{{w0}, {w1}}}")
            for plane in range(PLANES):
                place = self.index(f"w{plane // 4}", plane % 4)
                if not is_paired:
                    code.op(f"lsls {{{place}}}, {{{place}}}, #1")
                code.op(f"{'ldr' if is_paired else 'ldrh'} {{i}}, [{{table}}, {{{place}}}]")
                code.op(f"{'add' if group else 'mov'} {{s{plane}}}, {{i}}")

    def index(self, word: str, number: int) -> str:
        """Take a byte of a word, which then has those that are left."""
        if number in (1, 2, 3):
            self.code.op(f"lsrs {{{word}}}, {{{word}}}, #8")
        if number == 3:
            return word
        self.code.op(f"uxtb {{i}}, {{{word}}}")
        return "i"

    def put_together(self) -> None:
        """Planes to the sums of products of each pixel."""
        code = self.code
        code.ops(["lsls {s7}, {s7}, #1", "mov {t1}, {s6}", "subs {t1}, {t1}, {s7}"])
        if self.layer.lanes == 1:
            for plane in (5, 4, 3, 2, 1, 0):
                code.ops(["lsls {t1}, {t1}, #1", f"add {{t1}}, {{s{plane}}}"])
            code.op("movs {acc0}, {t1}")
            return
        code.ops(["sxth {acc0}, {t1}", "subs {t1}, {t1}, {acc0}", "asrs {acc1}, {t1}, #16"])
        for high in (5, 3, 1):
            code.ops([f"mov {{t1}}, {{s{high}}}", "lsls {t1}, {t1}, #1", f"add {{t1}}, {{s{high - 1}}}"])
            code.ops(["lsls {acc0}, {acc0}, #2", "uxth {t2}, {t1}", "adds {acc0}, {acc0}, {t2}",
                      "lsls {acc1}, {acc1}, #2", "lsrs {t1}, {t1}, #16", "adds {acc1}, {acc1}, {t1}"])  # fmt: skip

    def sum_chunks(self) -> str:
        """Add up chunks; in the last one go on, else to the returned label."""
        code, lanes = self.code, self.layer.lanes
        last, end = code.new_label(), code.new_label()
        self.load("t1", "sums")
        for lane in range(lanes):
            code.ops([f"ldr {{t2}}, [{{t1}}, #{_SUM_BYTES * lane}]", f"adds {{acc{lane}}}, {{acc{lane}}}, {{t2}}"])
        code.op("stmia {t1}!, {{" + ", ".join(f"{{acc{lane}}}" for lane in range(lanes)) + "}}")
        self.store("t1", "sums")
        self.load("t2", "chunks")
        code.ops(["cmp {t2}, #1", f"beq {last}", f"b {end}"])
        code.place(last, "the last chunk")
        return end

    def store_results(self) -> None:
        """Bytes at the channel's place, which is in t1."""
        code, at = self.code, self.y.pixel_bytes
        code.op("strb {t6}, [{t1}]")
        if self.layer.lanes == 1:
            return
        if at <= 31:
            code.op(f"strb {{t7}}, [{{t1}}, #{at}]")
            return
        code.constant("t2", at)
        code.op("strb {t7}, [{t1}, {t2}]")
