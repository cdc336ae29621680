"""The assembly of a function for convolutions of several sizes (`shared` says what it reads and in which order)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.conv2d.shared import START_SHIFT, Shared

_REGISTERS = {
    "xp": "r0", "wp": "r1", "x0": "r2", "x1": "r3", "a0": "r4", "a1": "r5", "a2": "r6", "b0": "r7", "b1": "r8",
    "b2": "r9", "w": "r10", "t": "r11", "x2": "r12", "size": "lr",
}  # fmt: skip
_SLOTS = ("out", "stream", "next_out", "x", "run_end", "row", "blocks", "left", "now")
"""Of the frame, behind the rows and before the head of the stream: `x` is where the block's inputs are in its row, or
how far; `now` the distance to a pair's second channel."""
_HEAD_REGISTERS = ("r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10")


def function(name: str, shared: Shared) -> Function:
    """The function `void name(const int16_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shared).write()


class _Writer:
    def __init__(self, name: str, shared: Shared) -> None:
        self.shared = shared
        self.element_bytes = shared.scale.layout.dtype.bytes
        self.at = {slot: 4 * (shared.kh + index) for index, slot in enumerate((*_SLOTS, *shared.fields))}
        frame_bytes = 4 * (shared.kh + len(_SLOTS) + len(shared.fields))
        title = f"Convolutions of {shared.kh} rows: sizes, strides and shifts come from the stream."
        self.code = Assembly(name, title, _REGISTERS, frame_bytes + frame_bytes % 8)

    def write(self) -> Function:
        code, shared = self.code, self.shared
        for row in range(shared.kh):
            code.ops([f"ldr r3, [r0, #{4 * row}]", f"str r3, [sp, #{4 * row}]"])
        code.ops([f"str r1, [sp, #{self.at['out']}]", f"add r0, sp, #{self.at[shared.fields[0]]}"])
        for first in range(0, len(shared.fields), len(_HEAD_REGISTERS)):
            names = ", ".join(_HEAD_REGISTERS[: len(shared.fields) - first])
            code.ops([f"ldmia r2!, {{{{{names}}}}}", f"stmia r0!, {{{{{names}}}}}"])
        code.op(self.store("r2", "stream"))
        if shared.pairs_outside:
            self.channels_outside()
        else:
            self.blocks_outside()
        return code.function(f"void {code.name}(const int16_t *const *rows, void *out, const int32_t *stream)")

    def load(self, register: str, slot: str) -> str:
        return f"ldr {register}, [sp, #{self.at[slot]}]"

    def store(self, register: str, slot: str) -> str:
        return f"str {register}, [sp, #{self.at[slot]}]"

    def copy(self, source: str, slot: str) -> None:
        self.code.ops([self.load("{t}", source), self.store("{t}", slot)])

    def channels_outside(self) -> None:
        """For each pair of channels all blocks of pixels."""
        code = self.code
        if self.shared.has_single:
            self.copy("channel", "now")
        self.copy("pairs", "left")
        with code.loop("next pair of channels") as label:
            if self.shared.kh == 1:
                code.ops(["ldr {t}, [sp]", self.store("{t}", "x")])
            else:
                code.ops(["mov {t}, #0", self.store("{t}", "x")])
            self.copy("out", "next_out")
            for size, unroll in self.shared.unrolls:
                with self.blocks(size):
                    self.block(size, unroll)
            code.op(self.store("{wp}", "stream"))
            self.move_to_next_pair("out")
            self.end_of_pairs(label)

    def blocks_outside(self) -> None:
        """For each block of pixels all pairs of channels."""
        code = self.code
        for size, unroll in self.shared.unrolls:
            with self.blocks(size):
                code.op(self.load("{wp}", "stream"))
                self.copy("out", "next_out")
                self.copy("pairs", "left")
                if self.shared.has_single:
                    self.copy("channel", "now")
                with code.loop("next pair of channels") as label:
                    self.block(size, unroll)
                    self.end_of_pairs(label)
                code.op(self.load("{size}", "pixel"))
                for row in range(self.shared.kh):
                    code.op(f"ldr {{t}}, [sp, #{4 * row}]")
                    self.add_pixels("t", size)
                    code.op(f"str {{t}}, [sp, #{4 * row}]")
                code.op(self.load("{t}", "out"))
                self.move_out(size)
                code.op(self.store("{t}", "out"))

    @contextmanager
    def blocks(self, size: int) -> Iterator[None]:
        """The blocks of one size, of which a layer may have none."""
        code, after = self.code, self.code.new_label()
        code.ops([self.load("{t}", f"blocks{size}"), "cmp {t}, #0", f"beq {after}"])
        with code.loop(f"next {size} pixels") as label:
            code.op(self.store("{t}", "blocks"))
            yield
            code.ops([self.load("{t}", "blocks"), "subs {t}, #1", f"bne {label}"])
        code.place(after, "no more of these")

    def end_of_pairs(self, label: str) -> None:
        """Go on with the next pair; behind the last one, with a channel that is left over."""
        code = self.code
        code.ops([self.load("{t}", "left"), "subs {t}, #1", self.store("{t}", "left"), f"bne {label}"])
        if self.shared.has_single:
            done = code.new_label()
            code.ops([self.load("{t}", "now"), self.load("{x0}", "single"), "ands {t}, {x0}", f"beq {done}"])
            code.ops(["mov {t}, #0", self.store("{t}", "now"), "mov {t}, #1", self.store("{t}", "left"), f"b {label}"])
            code.place(done, "all channels")

    def block(self, size: int, unroll: int) -> None:
        """Two channels of some pixels."""
        code, shared = self.code, self.shared
        if shared.pairs_outside:
            code.op(self.load("{wp}", "stream"))
        code.op(self.load("{size}", "pixel"))
        if shared.start_bits:
            self.start()
            code.ops([f"mov {{{name}{pixel}}}, {{{name}0}}" for pixel in range(1, size) for name in "ab"])
        else:
            code.ops([f"mov {{{name}{pixel}}}, #0" for pixel in range(size) for name in "ab"])
        if shared.kh == 1:
            code.op(self.load("{xp}", "x") if shared.pairs_outside else "ldr {xp}, [sp]")
            self.row_of_taps(size, unroll)
        else:
            self.rows_of_taps(size, unroll)
        self.scale(size)
        self.results(size)
        if shared.pairs_outside:
            code.op(self.load("{t}", "x"))
            self.add_pixels("t", size)
            code.op(self.store("{t}", "x"))

    def start(self) -> None:
        """Start values of the first pixel."""
        if self.shared.start_bits == 32:
            self.code.op("ldrd {a0}, {b0}, [{wp}], #8", "start values")
            return
        self.code.op("ldr {b0}, [{wp}], #4", "two biases")
        self.code.ops(["sxth {a0}, {b0}", "asr {b0}, #16"])
        self.code.ops([f"lsl {{{name}0}}, #{START_SHIFT}" for name in "ab"])

    def rows_of_taps(self, size: int, unroll: int) -> None:
        code = self.code
        code.op("mov {t}, sp")
        with code.loop("next row of taps") as label:
            code.ops(["ldr {xp}, [{t}], #4", self.store("{t}", "row")])
            if self.shared.pairs_outside:
                code.ops([self.load("{x0}", "x"), "add {xp}, {x0}"])
            self.row_of_taps(size, unroll)
            code.ops(
                [self.load("{t}", "row"), f"add {{x0}}, sp, #{4 * self.shared.kh}", "cmp {t}, {x0}", f"bne {label}"]
            )

    def row_of_taps(self, size: int, unroll: int) -> None:
        """All steps of one row of taps: of the first round perhaps only the last ones."""
        code = self.code
        code.ops([self.load("{t}", "run"), "add {t}, {xp}", self.store("{t}", "run_end")])
        labels = [code.new_label() for _ in range(unroll)]
        if self.shared.has_rest and unroll > 1:
            code.op(self.load("{t}", f"skip{size}"))
            code.table_branch("t", labels)
        for label in labels:
            code.place(label, "step")
            self.step(size)
        code.ops([self.load("{t}", "run_end"), "cmp {xp}, {t}", f"bne {labels[0]}"])

    def step(self, size: int) -> None:
        """Two inputs of each pixel by two weights of each channel."""
        code = self.code
        code.ops(["ldr {w}, [{wp}], #4", "ldr {x1}, [{xp}, {size}]"])
        if size == 3:
            code.op("ldr {x2}, [{xp}, {size}, lsl #1]")
        code.ops(["ldr {x0}, [{xp}], #4", "sxtb16 {t}, {w}"])
        for name, weights in (("a", "t"), ("b", "w")):
            if name == "b":
                code.op("sxtb16 {w}, {w}, ror #8")
            code.ops([f"smlad {{{name}{p}}}, {{x{p}}}, {{{weights}}}, {{{name}{p}}}" for p in range(size)])

    def scale(self, size: int) -> None:
        """Results in place of the accumulators."""
        code, scale = self.code, self.shared.scale
        if self.shared.is_packed:
            self.scale_packed(size)
            return
        words = self.shared.parameter_words
        lift = ""
        if scale.lift is None:
            code.op(self.load("{xp}", "lift"))
            lift = "xp"
        if self.shared.has_shift:
            code.op(self.load("{x2}", "shift"))
        if words == 2:
            code.op("ldmia {wp}!, {{{x0}, {x1}, {w}, {t}}}", "multipliers and offsets")
        for name, registers in (("a", ("x0", "x1", "x2")), ("b", ("w", "t", "x2"))):
            if words == 3:
                registers = ("x0", "x1", "w")
                code.op("ldmia {wp}!, {{{x0}, {x1}, {w}}}", "multiplier, offset, shift or lowering")
            for pixel in range(size):
                for group in scale.steps(f"{name}{pixel}", *registers, lift):
                    code.ops(group)

    def scale_packed(self, size: int) -> None:
        """The same where the numbers of a channel are one word."""
        code, scale = self.code, self.shared.scale
        code.ops(["ldmia {wp}!, {{{x0}, {x1}}}", self.load("{x2}", "factor")])
        for name, word in (("a", "x0"), ("b", "x1")):
            code.ops(scale.unpack(word, "x2", "w", "t"))
            for pixel in range(size):
                for group in scale.steps(f"{name}{pixel}", word, "t", "w"):
                    code.ops(group)

    def results(self, size: int) -> None:
        """Store a block, the second channel first: where there is none, the first one is written over it."""
        code, bytes_ = self.code, self.element_bytes
        bits = self.shared.scale.layout.fraction_bits
        has_second = self.shared.planes or self.shared.has_single or self.shared.has_planes
        packs = bool(bits) and self.shared.scale.low == 0 and not has_second
        if bits and not packs:
            code.ops([f"lsl {{{name}{pixel}}}, #{bits}" for name in "ab" for pixel in range(size)])
        code.op(self.load("{t}", "next_out"))
        if has_second:
            code.ops([self.load("{x0}", "now" if self.shared.has_single else "channel"), "add {x0}, {t}"])
        if not self.shared.pairs_outside:
            code.op("mov {x2}, {t}")
        store = "strb" if bytes_ == 1 else "strh"
        if self.shared.planes:
            code.ops([f"{store} {{b{pixel}}}, [{{x0}}, #{pixel * bytes_}]" for pixel in range(size)])
            code.ops([f"{store} {{a{pixel}}}, [{{t}}, #{pixel * bytes_}]" for pixel in range(size)])
        else:
            code.op(self.load("{x1}", "step"))
            for pixel in range(size):
                if packs:
                    code.op(f"pkhbt {{a{pixel}}}, {{a{pixel}}}, {{b{pixel}}}, lsl #16", "two values, none negative")
                    code.ops([f"lsl {{a{pixel}}}, #{bits}", f"str {{a{pixel}}}, [{{t}}]"])
                elif has_second:
                    code.ops([f"{store} {{b{pixel}}}, [{{x0}}]", f"{store} {{a{pixel}}}, [{{t}}]"])
                else:
                    code.ops([f"{store} {{b{pixel}}}, [{{t}}, #{bytes_}]", f"{store} {{a{pixel}}}, [{{t}}]"])
                if pixel < size - 1 or self.shared.pairs_outside:
                    code.op("add {t}, {x1}")
                if has_second and pixel < size - 1:
                    code.op("add {x0}, {x1}")
        if not self.shared.pairs_outside:
            code.ops([self.load("{t}", "channel"), "add {t}, {x2}, {t}, lsl #1"])
        elif self.shared.planes:
            code.op(f"add {{t}}, #{size * bytes_}")
        code.op(self.store("{t}", "next_out"))

    def move_to_next_pair(self, slot: str) -> None:
        self.code.ops([self.load("{t}", slot), self.load("{x0}", "channel"), "add {t}, {t}, {x0}, lsl #1",
                       self.store("{t}", slot)])  # fmt: skip

    def move_out(self, size: int) -> None:
        """`t` from a block of results to the next one."""
        if self.shared.planes:
            self.code.op(f"add {{t}}, #{size * self.element_bytes}")
            return
        self.code.op(self.load("{size}", "step"))
        self.add_pixels("t", size)

    def add_pixels(self, register: str, count: int) -> None:
        """Add two or three times what `size` holds."""
        self.code.op(f"add {{{register}}}, {{{register}}}, {{size}}, lsl #1")
        if count == 3:
            self.code.op(f"add {{{register}}}, {{size}}")
