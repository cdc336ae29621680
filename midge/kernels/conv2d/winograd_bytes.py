"""Assembly of Winograd's convolution in squares whose weights stay bytes in flash.

The inputs of a whole row of tiles are transformed first. Then, for each pair of channels, nine taps become sixteen
weights in scratch memory, which all blocks of the row read. That takes about 77 cycles for two inputs of a channel, and
no more flash than plain convolution.
"""

from __future__ import annotations

from typing import ClassVar

from midge.kernels.base import Function
from midge.kernels.conv2d.winograd_code import Writer
from midge.kernels.conv2d.winograd_form import SLOTS, Shape
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import Rows

_MOST_OFFSET = 4095


def function(name: str, shape: Shape, requantization: Requantization, y: Rows, title: str) -> Function:
    """As `winograd_code.function`, for a stream of bytes."""
    return _BytesWriter(name, shape, requantization, y, title).write()


class _BytesWriter(Writer):
    """More of the frame: the next block's inputs, transformed weights, the end of a channel's, parameters."""

    MORE_WORDS: ClassVar[int] = 4

    def write(self) -> Function:
        code, shape = self.code, self.shape
        self.inputs_at, self.weights_at, self.words_end_at, self.parameters_at = (
            self.more_at + 4 * i for i in range(4)
        )  # fmt: skip
        self.begin()
        self.all_inputs()
        code.ops([f"ldr {{src}}, [sp, #{self.stream_at}]"])
        pair_words = shape.pair_words + 2 * self.form.parameters.shape[1]
        code.constant("t0", 2 * pair_words * shape.outputs)
        code.ops(["add {t0}, {src}", f"str {{t0}}, [sp, #{self.stream_end_at}]"])
        with code.loop("next pair of channels") as label:
            self.weights()
            self.all_blocks()
            self.next_channels(self.out_at)
            code.ops([f"ldr {{src}}, [sp, #{self.line_at}]", f"ldr {{t0}}, [sp, #{self.stream_end_at}]"])
            code.ops(["cmp {src}, {t0}", f"bne {label}"])
        prototype = f"void {code.name}(const int16_t *const *rows, void *const *outs, const int32_t *stream,"
        return code.function(f"{prototype} void *scratch)")

    def all_inputs(self) -> None:
        """Transform the inputs of all blocks, one block's after the other's; the weights' place follows them."""
        code, shape = self.code, self.shape
        code.ops([f"ldr {{to}}, [sp, #{self.scratch_at}]", f"str {{to}}, [sp, #{self.weights_at}]"])
        if shape.blocks > 1:
            self.count_blocks()
        with code.loop("next block of tiles") as label:
            code.op(f"ldr {{to}}, [sp, #{self.weights_at}]")
            self.transform()
            code.op(f"str {{to}}, [sp, #{self.weights_at}]")
            if shape.blocks > 1:
                self.advance(label, [(self.rows_at + 4 * slot, "d1") for slot in range(len(self.rows))])

    def weights(self) -> None:
        """Two channels' weights from `src` into the lines that passes read, with start values."""
        code, shape = self.code, self.shape
        channel_bytes = 8 * shape.steps
        code.ops([f"ldr {{dst}}, [sp, #{self.weights_at}]", "add {dst}, #8"])
        with code.loop("next channel of weights") as channel:
            code.ops(["mov {t0}, {dst}"])
            code.add("t0", channel_bytes, "t1")
            code.op(f"str {{t0}}, [sp, #{self.words_end_at}]")
            with code.loop("next four inputs") as four:
                self.four_inputs()
                code.ops([f"ldr {{t0}}, [sp, #{self.words_end_at}]", "cmp {dst}, {t0}", f"bne {four}"])
            code.add("dst", 4 - channel_bytes, "t1")
            code.ops([f"ldr {{t0}}, [sp, #{self.weights_at}]", "add {t1}, {t0}, #16", "cmp {dst}, {t1}"])
            code.op(f"bne {channel}")
        code.ops(["ldr {t2}, [{src}, #4]", "ldr {t1}, [{src}], #8", "strd {t1}, {t2}, [{t0}]"])
        code.ops([f"str {{src}}, [sp, #{self.parameters_at}]", "mov {t1}, #0", "mov {t2}, #0"])
        for _ in range(1, shape.lines):
            code.add("t0", shape.line_bytes, "w0")
            code.op("strd {t1}, {t2}, [{t0}]")

    def four_inputs(self) -> None:
        """Nine words of taps of four inputs: two steps of weights."""
        code = self.code
        for step, rotation in enumerate(("", ", ror #8")):
            for tap in range(9):
                at = "], #36" if step == 1 and tap == 0 else f", #{4 * tap - 36 * (step == 1)}]"
                code.op(f"ldr {{w{tap}}}, [{{src}}{at}")
            code.ops([f"sxtb16 {{w{tap}}}, {{w{tap}}}{rotation}" for tap in range(9)])
            self.one_step(8 * step)
        code.op("add {dst}, #16")

    def one_step(self, at: int) -> None:
        """Sixteen weights of two inputs from taps w0 to w8. Lines 0 and 3 go first: the lower taps are then free."""
        code = self.code
        far = 2 * self.shape.line_bytes if self._line_at(3, 8) + 24 * self.shape.steps > _MOST_OFFSET else 0
        code.add("dst", far, "t0")
        for slot, taps in ((0, ("w0", "w1", "w2")), (3, ("w6", "w7", "w8"))):
            self.line_of(taps, self._line_at(slot, at) - far, doubled=True)
        code.add("dst", -far, "t0")
        code.ops([f"sadd16 {{w{tap}}}, {{w{tap}}}, {{w{tap + 6}}}" for tap in range(3)])
        for slot, join in ((1, "sadd16"), (2, "ssub16")):
            code.ops([f"{join} {{w{i + 6}}}, {{w{i}}}, {{w{i + 3}}}" for i in range(3)])
            self.line_of(("w6", "w7", "w8"), self._line_at(slot, at), doubled=False)

    def _line_at(self, slot: int, at: int) -> int:
        """Where a line's words lie, from `dst`."""
        return SLOTS.index(slot) * self.shape.line_bytes + at

    def line_of(self, taps: tuple[str, str, str], at: int, *, doubled: bool) -> None:
        """Four weights of three taps: their sum, with the middle one less, and the outer ones twice."""
        code = self.code
        left, middle, right = taps
        code.op(f"sadd16 {{t0}}, {{{left}}}, {{{right}}}")
        words = {1: ("sadd16", "t0", middle), 2: ("ssub16", "t0", middle), 0: ("sadd16", left, left),
                 3: ("sadd16", right, right)}  # fmt: skip
        for position, slot in enumerate(SLOTS):
            join, a, b = words[slot]
            code.op(f"{join} {{t1}}, {{{a}}}, {{{b}}}")
            if doubled:
                code.op("sadd16 {t1}, {t1}, {t1}")
            code.op(f"str {{t1}}, [{{dst}}, #{at + 8 * self.shape.steps * position}]")

    def all_blocks(self) -> None:
        """Two channels of all blocks of the row."""
        code, shape = self.code, self.shape
        code.ops([f"ldr {{wa}}, [sp, #{self.scratch_at}]", f"str {{wa}}, [sp, #{self.inputs_at}]"])
        code.ops([f"ldr {{wa}}, [sp, #{self.out_at}]", f"str {{wa}}, [sp, #{self.pair_at}]"])
        if shape.blocks > 1:
            self.count_blocks()
        with code.loop("next block of tiles") as label:
            code.ops([f"ldr {{xp}}, [sp, #{self.inputs_at}]", f"ldr {{wp}}, [sp, #{self.weights_at}]"])
            self.lines()
            code.ops([f"str {{xp}}, [sp, #{self.inputs_at}]", f"ldr {{wp}}, [sp, #{self.parameters_at}]"])
            self.results()
            if shape.blocks > 1:
                self.advance(label, [(self.pair_at, "d2")])
