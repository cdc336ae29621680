"""One function for fully connected layers of several sizes and scales, where flash comes before latency.

The code is that of `pairs`, but the sizes and the numbers that all outputs of a layer share come from the head of the
layer's stream: those numbers, bytes of inputs, bytes of the blocks of each size, the lift where layers differ in it.
The first block only sums the squares. Of the others there are sixes, twos and single outputs; a function has those that
its layers need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from midge.kernels.base import Function
from midge.kernels.fully_connected import pairs
from midge.kernels.fully_connected.pairs import END, SIX, registers
from midge.kernels.requantize_armv7em import Requantization, Scale, merged_scale

_SIZES = (SIX, 2, 1)
_HEAD_REGISTERS = ("a0", "a1", "a2", "a3", "a4")


@dataclass(frozen=True, slots=True)
class Shape(pairs.Shape):
    """The same with blocks of few sizes, and loops of a power of two of steps without a rest, as more layers have."""

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(outputs, how often), of all sizes."""
        counts, rest = [], self.outputs
        for size in _SIZES:
            count, rest = divmod(rest, size)
            counts.append((size, count))
        return tuple(counts)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(size for size, count in self.blocks for _ in range(count))

    def loop(self, *, is_first: bool) -> tuple[int, int]:
        body = 1
        while 2 * body <= self.most_steps(is_first=is_first) and self.steps % (2 * body) == 0:
            body *= 2
        return body, 0


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A layer among those that may share a function."""

    shape: Shape
    form: Requantization

    @property
    def family(self) -> tuple[object, ...]:
        """What is equal for all that share one: the loops, the way of scaling, and which numbers each output has."""
        shape = replace(self.shape, inputs=0, outputs=0)
        loops = (self.shape.loop(is_first=is_first) for is_first in (True, False))
        return shape, *loops, self.form.family, pairs.parameters_key(self.form)


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The function of some layers: the blocks that it has, and its way of scaling."""

    sizes: tuple[int, ...]
    scale: Scale

    def numbers(self, form: Requantization) -> list[int]:
        """Parameters of a layer that all its outputs share."""
        values = form.parameters[0, pairs.shared_columns(form)].tolist()
        return values + ([form.code.shift] if self.reads_shift(form) else [])

    def reads_shift(self, form: Requantization) -> bool:
        """True where the shift is a layer's own."""
        return self.scale.shift is None and form.code.shift is not None

    def bytes(self, member: Member) -> list[int]:
        """Of the inputs, and of all blocks of each size; and the lift."""
        shape, form = member.shape, member.form
        own = int((~pairs.shared_columns(form)).sum())
        counts = dict(shape.blocks)
        blocks = [4 * counts[size] * size * (1 + own + shape.steps) for size in self.sizes]
        return [shape.step_bytes * shape.steps, *blocks, *([form.lift] if self.scale.lift is None else [])]


def shared(members: Sequence[Member]) -> Shared:
    """What members of one family share."""
    sizes = tuple(size for size in _SIZES if any(dict(member.shape.blocks)[size] for member in members))
    return Shared(sizes, merged_scale([member.form.code for member in members]))


def weight_stream(weights: np.ndarray, member: Member, function: Shared) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, I]."""
    head = np.array([*function.numbers(member.form), *function.bytes(member)], np.int64).astype(np.int32)
    return np.concatenate([head, pairs.blocks_stream(weights, member.shape, member.form)])


def function(name: str, member: Member, shared: Shared) -> Function:
    """The function `void name(const int16_t *x, void *out, const int32_t *stream)`; `int8_t` where it widens them."""
    return _Writer(name, member, shared).write()


class _Writer(pairs.Writer):
    """The frame of `pairs`, then the bytes of all blocks of each size, and the lift where it is in one."""

    def __init__(self, name: str, member: Member, function: Shared) -> None:
        title = "Fully connected layers: sizes and scales come from the stream."
        super().__init__(name, member.shape, member.form, title)
        self.sizes = function.sizes
        self.scale = function.scale
        if function.reads_shift(member.form):
            self.is_shared.append(True)
        self.head = _HEAD_REGISTERS[: len(function.bytes(member))]
        self.set_frame(name, title, has_end=True, more_words=len(self.head) - 1)

    def write(self) -> Function:
        code = self.code
        self.begin()
        code.op("ldmia {wp}!, " + registers(self.head), "bytes of inputs and blocks")
        code.ops(["add {a0}, {xp}", f"add {{t0}}, sp, #{self.x_end_at}", "stmia {t0}, " + registers(self.head)])
        self.products(0, *self.shape.loop(is_first=True), is_first=True, is_loop=True)
        self.results(())
        for index, size in enumerate(self.sizes):
            code.op(f"ldr {{{END}}}, [sp, #{self.x_end_at + 4 * (1 + index)}]")
            after = code.new_label()
            code.ops([f"cmp {{{END}}}, #0", f"beq {after}", f"add {{{END}}}, {{wp}}", f"str {{{END}}}, {self.at(END)}"])
            with code.loop(f"next {size} outputs" if size > 1 else "an output") as label:
                self.products(size, *self.shape.loop(is_first=False), is_first=False, is_loop=True)
                self.results(pairs.ACCUMULATORS[:size])
                code.ops([f"cmp {{wp}}, {{{END}}}", f"bne {label}"])
            code.place(after, "no more of these")
        return self.function()

    def load_lift(self, free: list[str]) -> str:
        if self.scale.lift is not None:
            return ""
        self.code.op(f"ldr {{{free[-1]}}}, [sp, #{self.x_end_at + 4 * (1 + len(self.sizes))}]")
        return free.pop()
