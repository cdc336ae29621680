"""One function for depthwise 3x3 convolutions of several sizes on rows in planes, where flash comes before latency.

Weights lie in the stream as bytes, the three of a row of taps in a word, and come out of it shifted left by eight bits,
which requantisation wants: `AND` with 0xff00ff00 leaves the bytes that are the upper ones of their half words, and
after `LSL` by eight the others are.

    bytes    w1 w0 d w2     (w0, w2) and w1       int8 inputs, four to a word, split into (x0, x2) and (x1, x3)
    bytes    w1 w0 d w2     (w0, w1) and (w1, w2) widened inputs, two to a word, at stride 1, by two instructions more
    bytes    w2 w0 d w1     (w0, w1) and w2       the same at stride 2

What else differs between layers (sizes, strides, shifts) lies at the head of a layer's stream. Behind it come, for each
channel, the words of the three rows of taps, whose bytes d are the channel's bias, and its numbers packed in a word
(`packed_scaling`). Where that can't be, a start value comes before the taps, and behind them multiplier and offset (and
lowering or shift). `shared_code` writes the assembly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midge.kernels.requantize_armv7em import Requantization, Scale, merged_scale
from midge.kernels.view import Rows
from midge.kernels.window import Window

TAPS = 3
FRACTION_BITS = 8
MOST_PIXELS = 6
SPLIT = ("and {second}, {first}, #0xff00ff00", "lsl {first}, {first}, #8")
SPLIT_WIDE = (*SPLIT, "pkhbt {first}, {first}, {second}", "pkhbt {second}, {second}, {first}, lsl #16")
"""Instructions that make two registers of a word of weights."""
_NUMBERS = 2
"""Parameters of a channel that has no shift or lowering: multiplier and offset."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A layer among those that may share a function; `is_wide`: its inputs are widened."""

    window: Window
    form: Requantization
    is_wide: bool

    @property
    def family(self) -> tuple[object, ...]:
        """What is equal for all that share one."""
        form = self.form
        return self.is_wide, self.window.stride_w, form.family, form.parameters.shape[1]

    @property
    def blocks(self) -> dict[int, int]:
        """How many blocks of each size in a row: the whole row, or of one even size, or sixes and a rest."""
        columns = self.window.y.columns
        if columns <= MOST_PIXELS:
            return {columns: 1}
        size = next((size for size in (6, 4) if columns % size == 0), MOST_PIXELS)
        rest = columns % size
        return {size: columns // size} | ({rest: 1} if rest else {})

    @property
    def input_bytes(self) -> int:
        """Of a pixel of one channel."""
        return 2 if self.is_wide else 1


def refuse(window: Window) -> str | None:
    """Why a convolution needs a function of its own."""
    if (window.kh, window.kw, window.dilation_h, window.dilation_w) != (TAPS, TAPS, 1, 1):
        return "not 3x3"
    if window.stride_w > 2 or window.x.channels != window.y.channels:
        return "its stride is more than 2, or its depth multiplier more than 1"
    return "its rows are one pixel" if window.y.columns < 2 else None


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What the function of some layers of one family depends on."""

    is_wide: bool
    stride: int
    sizes: tuple[int, ...]
    """Pixels of blocks, the largest first."""
    repeated: tuple[int, ...]
    """Those of which some row has more than one."""
    own_words: int
    """Parameters of a channel."""
    scale: Scale

    @property
    def is_packed(self) -> bool:
        """A channel's parameters are one word, and its bias lies beside its weights."""
        return self.scale.low_bits > 0

    @property
    def is_one_block(self) -> bool:
        """All rows are one block of one size."""
        return len(self.sizes) == 1 and not self.repeated

    @property
    def start_words(self) -> int:
        """Of the stream, before a channel's weights."""
        return 0 if self.is_packed else 1

    @property
    def channel_words(self) -> int:
        """Of the stream."""
        return self.start_words + TAPS + self.own_words

    @property
    def fields(self) -> tuple[str, ...]:
        """Words of a stream's head, in order."""
        found = ["end", "plane", "step"] + ([] if self.is_one_block else [f"blocks{size}" for size in self.sizes])
        found += ["factor"] if self.is_packed else []
        found += ["shift"] if self.has_shift else []
        return (*found, *(["lift"] if self.scale.lift is None else []))

    @property
    def has_shift(self) -> bool:
        """Layers have a shift each, and channels none of their own."""
        return self.scale.shift is None and self.own_words == _NUMBERS and not self.scale.is_literal

    def head(self, member: Member, y: Rows, plane_bytes: int) -> list[int]:
        """The words at the head of a layer's stream; `plane_bytes` from a channel's rows to the next one's."""
        window = member.window
        values = {
            "end": 4 * self.channel_words * window.y.channels,
            "plane": plane_bytes - window.y.columns * window.stride_w * member.input_bytes,
            "step": y.pixel_bytes, "factor": member.form.factor, "shift": member.form.code.shift or 0,
            "lift": member.form.lift,
        } | {f"blocks{size}": member.blocks.get(size, 0) for size in self.sizes}  # fmt: skip
        return [values[name] for name in self.fields]


def shared(members: Sequence[Member]) -> Shared:
    """What the function of members of one family depends on."""
    first = members[0]
    sizes = sorted({size for member in members for size in member.blocks}, reverse=True)
    repeated = [size for size in sizes if any(member.blocks.get(size, 0) > 1 for member in members)]
    return Shared(
        first.is_wide, first.window.stride_w, tuple(sizes), tuple(repeated), first.form.parameters.shape[1],
        merged_scale([member.form.code for member in members]),
    )  # fmt: skip


def weight_stream(weights: np.ndarray, member: Member, function: Shared, y: Rows, plane_bytes: int) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [1, 3, 3, channels]."""
    w0, w1, w2 = (weights[0, :, tap] for tap in range(TAPS))
    rest, starts = np.zeros_like(w0), member.form.starts
    if function.is_packed:
        biases = (starts >> FRACTION_BITS).astype(np.int32)
        rest[:] = biases.view(np.int8).reshape(-1, 4)[:, :TAPS].T
    order = (w2, w0, rest, w1) if function.is_wide and function.stride == 2 else (w1, w0, rest, w2)
    words = np.ascontiguousarray(np.stack(order, axis=2)).view(np.int32)[:, :, 0]  # [rows, channels]
    head = np.array(function.head(member, y, plane_bytes), np.int64).astype(np.int32)
    parts = [starts[None]] * function.start_words + [words, member.form.parameters.T]
    return np.concatenate([head, np.concatenate(parts).T.astype(np.int32).reshape(-1)])
