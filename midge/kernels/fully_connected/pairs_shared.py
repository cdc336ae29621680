"""One function for fully connected layers of several sizes and scales, where flash comes before latency.

The code is that of `pairs`, but the sizes and the numbers that all outputs of a layer share come from the head of the
layer's stream: bytes of inputs, bytes of the blocks of each size, then those numbers. Of blocks there are sixes, twos
and single outputs; a function has those that its layers need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.fully_connected import pairs
from midge.kernels.fully_connected.pairs import BLOCKS_END_AT, OUT_AT, X_AT, X_END_AT
from midge.kernels.requantize_armv7em import Requantization, Scale, merged_scale

_SIZES = (6, 2, 1)
_HEAD_AT = 16
_HEAD_REGISTERS = ("t0", "t1", "a0", "a1", "a2", "a3", "a4", "a5")


@dataclass(frozen=True, slots=True)
class Shape(pairs.Shape):
    """The same with blocks of few sizes."""

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(outputs, how often), of all sizes."""
        counts, rest = [], self.outputs
        for size in _SIZES:
            count, rest = divmod(rest, size)
            counts.append((size, count))
        return tuple(counts)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A layer among those that may share a function."""

    shape: Shape
    form: Requantization

    @property
    def family(self) -> tuple[object, ...]:
        """What is equal for all that share one: the loops, the way of scaling, and which numbers each output has."""
        shared = tuple(value is None for value in pairs.shared_parameters(self.form))
        shape = replace(self.shape, inputs=0, outputs=0)
        return shape, *(self.shape.unroll(is_rest=rest) for rest in (False, True)), self.form.family, shared


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The function of some layers: the blocks that it has, and its way of scaling."""

    sizes: tuple[int, ...]
    scale: Scale

    def head(self, member: Member) -> list[int]:
        """The words that its layer's stream begins with."""
        shape, form = member.shape, member.form
        own = pairs.shared_parameters(form).count(None)
        bytes_of = {
            size: 4 * count * (size * (1 + own) + shape.steps * ((size + 1) // 2)) for size, count in shape.blocks
        }
        return [shape.input_bytes, *(bytes_of[size] for size in self.sizes), *self.numbers(form)]

    def numbers(self, form: Requantization) -> list[int]:
        """Numbers of a layer that all its outputs share."""
        values = [value for value in pairs.shared_parameters(form) if value is not None]
        if self.scale.shift is None and form.code.shift is not None:
            values.append(form.code.shift)
        return values + ([form.lift] if self.scale.lift is None else [])


def shared(members: Sequence[Member]) -> Shared:
    """What members of one family share."""
    sizes = tuple(size for size in _SIZES if any(dict(member.shape.blocks)[size] for member in members))
    return Shared(sizes, merged_scale([member.form.code for member in members]))


def weight_stream(weights: np.ndarray, member: Member, function: Shared) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, I]."""
    head = np.array(function.head(member), np.int64).astype(np.int32)
    return np.concatenate([head, pairs.weight_stream(weights, member.shape, member.form)])


def function(name: str, member: Member, shared: Shared) -> Function:
    """The function `void name(const int16_t *x, void *out, const int32_t *stream)`; `int8_t` where it widens them."""
    return _Writer(name, member, shared).write()


class _Writer(pairs.Writer):
    """Frame: out, x, end of x, end of the blocks of one size, bytes of all blocks of each size, shared numbers."""

    def __init__(self, name: str, member: Member, function: Shared) -> None:
        super().__init__(name, member.shape, member.form, "Fully connected layers: sizes and scales from the stream.")
        self.sizes = function.sizes
        self.scale = function.scale
        if function.scale.shift is None and member.form.code.shift is not None:
            self.shared = (*self.shared, 0)  # the shift, which comes from the head
        self.head_words = len(function.head(member)) - 1
        frame_bytes = _HEAD_AT + 4 * self.head_words
        title = "Fully connected layers: sizes and scales come from the stream."
        self.code = Assembly(name, title, pairs.REGISTERS, frame_bytes + frame_bytes % 8)

    def write(self) -> Function:
        code = self.code
        head = [f"{{{name}}}" for name in _HEAD_REGISTERS[: 1 + self.head_words]]
        code.ops([f"str r1, [sp, #{OUT_AT}]", "mov {wp}, r2", f"str {{xp}}, [sp, #{X_AT}]"])
        code.op("ldmia {wp}!, {{" + ", ".join(head) + "}}", "bytes of inputs, of blocks; shared numbers")
        code.ops(["add {t0}, {xp}", f"str {{t0}}, [sp, #{X_END_AT}]"])
        if len(head) == 2:  # to store one register is another instruction
            code.op(f"str {head[1]}, [sp, #{_HEAD_AT}]")
        else:
            code.ops([f"add {{t0}}, sp, #{_HEAD_AT}", "stmia {t0}, {{" + ", ".join(head[1:]) + "}}"])
        for index, size in enumerate(self.sizes):
            code.op(f"ldr {{t5}}, [sp, #{_HEAD_AT + 4 * index}]")
            after = code.new_label()
            code.ops(["cmp {t5}, #0", f"beq {after}", "add {t5}, {wp}", f"str {{t5}}, [sp, #{BLOCKS_END_AT}]"])
            with code.loop(f"next {size} outputs" if size > 1 else "an output") as label:
                self.products(size, self.shape.unroll(is_rest=size != max(_SIZES)), is_loop=True)
                self.results(size, reads_end=True)
                code.ops(["cmp {wp}, {t5}", f"bne {label}"])
            code.place(after, "no more of these")
        element = "int8_t" if self.shape.widens else "int16_t"
        return code.function(f"void {code.name}(const {element} *x, void *out, const int32_t *stream)")

    def load_shared(self, registers: list[str], free: list[str]) -> str:
        wanted = [register for register in registers if register]
        lift = free.pop(0) if self.scale.lift is None else ""
        for index, register in enumerate([*wanted, *([lift] if lift else [])]):
            self.code.op(f"ldr {{{register}}}, [sp, #{_HEAD_AT + 4 * (len(self.sizes) + index)}]")
        return lift
