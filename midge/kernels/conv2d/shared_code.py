"""The assembly of a function for convolutions of all sizes (`shared` says what it reads and in which order)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.conv2d.shared import FRACTION_BITS, HELD_WORDS, Shared, takes_two

_REGISTERS = {
    "xp": "r0", "wp": "r1", "x0": "r2", "x1": "r3", "w": "r4", "x2": "r5", "end": "r6", "size": "r7",
    "a0": "r8", "a1": "r9", "a2": "r10", "b0": "r11", "b1": "r12", "b2": "lr",
}  # fmt: skip
_SLOTS = ("x", "out", "stream", "next_out", "blocks", "left", "words", "start_a", "start_b", "now", "held_at")
"""Of the frame, before a pair's numbers and the head of the stream. `words` is where a pair's weights are, `now` the
distance to its second channel, `held_at` where weights are held."""
_NUMBERS = ("x0", "x1", "w", "x2", "end", "size")
"""Registers of a pair's numbers."""
_HEAD_REGISTERS = ("r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10")


def function(name: str, choices: Iterable[Shared], loop_bytes: int) -> tuple[Function, Shared]:
    """The function `void name(const int16_t *x, void *out, const int32_t *stream)`, and which of the choices it is.

    The first one whose loop over pairs of channels takes no more than `loop_bytes`, or the last one. Where layers hold
    weights, `int32_t *held` comes last: room for those that do.
    """
    for shared in choices:
        writer = _Writer(name, shared)
        written = writer.write()
        if writer.loop_bytes <= loop_bytes:
            break
    return written, shared


class _Writer:
    def __init__(self, name: str, shared: Shared) -> None:
        self.shared = shared
        self.element_bytes = shared.scale.layout.dtype.bytes
        has_starts = shared.start_bits > 0
        needed = {"now": shared.has_single, "held_at": shared.holds, "start_a": has_starts, "start_b": has_starts}
        slots = [slot for slot in _SLOTS if needed.get(slot, True)]
        numbers = [f"number{index}" for index in range(2 * shared.numbers)]
        self.at = {slot: 4 * index for index, slot in enumerate((*slots, *numbers, *shared.fields))}
        frame_bytes = 4 * len(self.at)
        title = "Convolutions: sizes, strides and shifts come from the stream."
        self.code = Assembly(name, title, _REGISTERS, frame_bytes + frame_bytes % 8)
        self.loop_bytes = 0
        """Code of the loop over pairs of channels."""

    def write(self) -> Function:
        code, shared = self.code, self.shared
        code.ops([self.store("xp", "x"), self.store("wp", "out")])
        if shared.holds:
            code.op(f"str r3, [sp, #{self.at['held_at']}]")
        code.op(f"add r0, sp, #{self.at[shared.fields[0]]}")
        for first in range(0, len(shared.fields), len(_HEAD_REGISTERS)):
            names = ", ".join(_HEAD_REGISTERS[: len(shared.fields) - first])
            code.ops([f"ldmia r2!, {{{{{names}}}}}", f"stmia r0!, {{{{{names}}}}}"])
        code.op(f"str r2, [sp, #{self.at['stream']}]")
        if shared.has_single:
            self.copy("channel", "now")
        self.copy("pairs", "left")
        before = code.thumb_bytes
        with code.loop("next pair of channels") as label:
            self.begin_pair()
            code.op(self.load("xp", "x"))
            self.copy("out", "next_out")
            for (size, unroll), (fewest, most) in zip(shared.unrolls, shared.counts, strict=True):
                with self.blocks(size, fewest, most):
                    self.block(size, unroll)
            code.ops([self.load("w", "out"), self.load("x0", "channel"), "add {w}, {w}, {x0}, lsl #1",
                      self.store("w", "out")])  # fmt: skip
            self.end_of_pairs(label)
        self.loop_bytes = code.thumb_bytes - before
        held = ", int32_t *held" if shared.holds else ""
        return code.function(f"void {code.name}(const int16_t *x, void *out, const int32_t *stream{held})")

    def load(self, register: str, slot: str) -> str:
        return f"ldr {{{register}}}, [sp, #{self.at[slot]}]"

    def store(self, register: str, slot: str) -> str:
        return f"str {{{register}}}, [sp, #{self.at[slot]}]"

    def copy(self, source: str, slot: str) -> None:
        self.code.ops([self.load("w", source), self.store("w", slot)])

    def begin_pair(self) -> None:
        """What the blocks of a pair need, into the frame."""
        code, shared = self.code, self.shared
        code.op(self.load("wp", "stream"))
        if shared.start_bits == 16:
            code.ops(["ldr {x0}, [{wp}], #4", "asrs {x1}, {x0}, #16", "sxth {x0}, {x0}"])
            code.op(f"add {{x0}}, {{x1}}, {{x0}}, lsl #{FRACTION_BITS}")
        elif shared.start_bits == 32:
            code.op("ldmia {wp}!, {{{x0}, {x1}}}")
        if shared.start_bits:
            code.ops([self.store("x0", "start_a"), self.store("x1", "start_b")])
        self.numbers_of_pair()
        code.ops([self.store("wp", "words"), self.load("x0", "run")])
        if shared.holds:
            code.op(self.load("size", "held"))
        code.ops(["add {x0}, {wp}", self.store("x0", "stream")])
        if shared.holds:
            self.hold()

    def numbers_of_pair(self) -> None:
        """Multiplier, offset and what else there is of each of the two channels."""
        code, shared = self.code, self.shared
        if shared.is_packed:
            code.ops(["ldmia {wp}!, {{{x0}, {x1}}}", self.load("x2", "factor")])
            for first, word in ((0, "x0"), (3, "x1")):
                code.ops(shared.scale.unpack(word, "x2", "w", "size"))
                names = zip(range(first, first + 3), (word, "size", "w"), strict=True)
                code.ops([self.store(name, f"number{index}") for index, name in names])
            return
        for first in (0, shared.numbers):
            count = shared.parameter_words
            names = _NUMBERS[:count]
            code.op("ldmia {wp}!, {{" + ", ".join(f"{{{name}}}" for name in names) + "}}")
            code.ops([self.store(name, f"number{first + index}") for index, name in enumerate(names)])
            if shared.has_shift:
                code.ops([self.load("w", "shift"), self.store("w", f"number{first + count}")])

    def hold(self) -> None:
        """Copy the weights of a pair, of which `size` has the number, if the layer holds them."""
        code = self.code
        done = code.new_label()
        code.ops(["cmp {size}, #0", f"beq {done}", self.load("xp", "held_at"), self.store("xp", "words")])
        with code.loop("next weights") as label:
            code.op("ldmia {wp}!, {{{x0}, {x1}, {w}, {x2}}}")
            code.op("stmia {xp}!, {{{x0}, {x1}, {w}, {x2}}}")
            code.ops([f"subs {{size}}, #{HELD_WORDS}", f"bne {label}"])
        code.place(done, "weights are where they are read")

    @contextmanager
    def blocks(self, size: int, fewest: int, most: int) -> Iterator[None]:
        """The blocks of one size, of which a layer may have none."""
        code, after = self.code, self.code.new_label()
        if most == 1 and fewest == 1:
            yield
            return
        code.op(self.load("w", f"blocks{size}"))
        if not fewest:
            code.ops(["cmp {w}, #0", f"beq {after}"])
        with code.loop(f"next {size} pixels") as label:
            code.op(self.store("w", "blocks"))
            yield
            code.ops([self.load("w", "blocks"), "subs {w}, #1", f"bne {label}"])
        if not fewest:
            code.place(after, "no more of these")

    def end_of_pairs(self, label: str) -> None:
        """Go on with the next pair; behind the last one, with a channel that is left over."""
        code = self.code
        code.ops([self.load("w", "left"), "subs {w}, #1", self.store("w", "left"), f"bne {label}"])
        if self.shared.has_single:
            done = code.new_label()
            code.ops([self.load("w", "now"), self.load("x0", "single"), "ands {w}, {x0}", f"beq {done}"])
            code.ops(["movs {w}, #0", self.store("w", "now"), "movs {w}, #1", self.store("w", "left"), f"b {label}"])
            code.place(done, "all channels")

    def block(self, size: int, unroll: int) -> None:
        """Two channels of some pixels; `xp` goes from one block to the next."""
        code, shared = self.code, self.shared
        skips = shared.has_rest and unroll > 1
        code.ops([self.load("wp", "words"), self.load("size", "pixel"), self.load("end", "run")])
        if skips:
            code.op(self.load("w", f"skip{size}"))
        self.start(size)
        code.op("add {end}, {xp}")
        labels = [code.new_label() for _ in range(unroll)]
        if skips:
            code.table_branch("w", labels)
        if takes_two(size, unroll, has_rest=shared.has_rest):
            code.place(labels[0], "steps")
            for _ in range(unroll // 2):
                self.two_steps()
        else:
            for label in labels:
                code.place(label, "step")
                self.step(size)
        code.ops(["cmp {xp}, {end}", f"bne {labels[0]}"])
        self.scale(size)
        self.results(size)
        code.ops([self.load("w", f"advance{size}"), "add {xp}, {w}"])

    def start(self, size: int) -> None:
        """Start values."""
        code = self.code
        if not self.shared.start_bits:
            code.ops([f"mov {{{name}{pixel}}}, #0" for pixel in range(size) for name in "ab"])
            return
        code.op(f"ldrd {{a0}}, {{b0}}, [sp, #{self.at['start_a']}]")
        code.ops([f"mov {{{name}{pixel}}}, {{{name}0}}" for pixel in range(1, size) for name in "ab"])

    def step(self, size: int) -> None:
        """Two inputs of each pixel by two weights of each channel."""
        code = self.code
        code.ops(["ldr {w}, [{wp}], #4", "ldr {x1}, [{xp}, {size}]"])
        if size == 3:
            code.op("ldr {x2}, [{xp}, {size}, lsl #1]")
        code.op("ldr {x0}, [{xp}], #4")
        code.ops([f"smlad {{a{p}}}, {{x{p}}}, {{w}}, {{a{p}}}" for p in range(size)])
        code.op("sxtb16 {w}, {w}")
        code.ops([f"smlad {{b{p}}}, {{x{p}}}, {{w}}, {{b{p}}}" for p in range(size)])

    def two_steps(self) -> None:
        """Two steps of two pixels: all loads one after the other, into registers of what a third pixel would have."""
        code = self.code
        code.ops(["ldr {x1}, [{xp}, {size}]", "ldr {w}, [{wp}], #4", "ldr {x0}, [{xp}], #4"])
        code.ops(["ldr {x2}, [{wp}], #4", "ldr {b2}, [{xp}, {size}]", "ldr {a2}, [{xp}], #4"])
        for weights, inputs in (("w", ("x0", "x1")), ("x2", ("a2", "b2"))):
            code.ops([f"smlad {{a{p}}}, {{{x}}}, {{{weights}}}, {{a{p}}}" for p, x in enumerate(inputs)])
            code.op(f"sxtb16 {{{weights}}}, {{{weights}}}")
            code.ops([f"smlad {{b{p}}}, {{{x}}}, {{{weights}}}, {{b{p}}}" for p, x in enumerate(inputs)])

    def scale(self, size: int) -> None:
        """Results in place of the accumulators."""
        code, shared, scale = self.code, self.shared, self.shared.scale
        code.ops([f"sub {{a{pixel}}}, {{b{pixel}}}" for pixel in range(size)])
        code.ops([f"lsl {{b{pixel}}}, #{FRACTION_BITS}" for pixel in range(size)])
        names = _NUMBERS[: 2 * shared.numbers]
        code.op(f"add {{x0}}, sp, #{self.at['number0']}")
        code.op("ldm {x0}, {{" + ", ".join(f"{{{name}}}" for name in names) + "}}", "numbers of both channels")
        lift = ""
        if scale.lift is None:
            code.op(self.load("wp", "lift"))
            lift = "wp"
        for name, numbers in (("a", names[: shared.numbers]), ("b", names[shared.numbers :])):
            for pixel in range(size):
                for group in scale.steps(f"{name}{pixel}", numbers[0], numbers[1], numbers[-1], lift):
                    code.ops(group)

    def results(self, size: int) -> None:
        """Store a block, the second channel first: where there is none, the first one is written over it."""
        code, shared, bytes_ = self.code, self.shared, self.element_bytes
        bits = shared.scale.layout.fraction_bits
        has_second = shared.has_single or shared.has_planes
        if bits:
            code.ops([f"lsl {{{name}{pixel}}}, #{bits}" for name in "ab" for pixel in range(size)])
        store = "strb" if bytes_ == 1 else "strh"
        code.op(self.load("x0", "next_out"))
        if not shared.planes:
            code.op(self.load("x2", "step"))
        if has_second:
            code.ops([self.load("x1", "now" if shared.has_single else "channel"), "add {x1}, {x0}"])
        if shared.planes:
            code.ops([f"{store} {{b{pixel}}}, [{{x1}}, #{pixel * bytes_}]" for pixel in range(size)])
            code.ops([f"{store} {{a{pixel}}}, [{{x0}}, #{pixel * bytes_}]" for pixel in range(size)])
            code.op(f"adds {{x0}}, #{size * bytes_}")
        else:
            for pixel in range(size):
                second = "[{x1}]" if has_second else f"[{{x0}}, #{bytes_}]"
                code.ops([f"{store} {{b{pixel}}}, {second}", f"{store} {{a{pixel}}}, [{{x0}}]", "add {x0}, {x2}"])
                if has_second and pixel < size - 1:
                    code.op("add {x1}, {x2}")
        code.op(self.store("x0", "next_out"))
