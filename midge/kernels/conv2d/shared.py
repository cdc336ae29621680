"""One function for convolutions of all sizes, where flash comes before latency: what its layers share.

A layer's rows lie in columns (`column_order`): a window is one run of values, and the next window begins a few values
further on. So any kernel height is a matter of numbers, as are strides and counts of channels. A row of results is made
two channels at a time, three or two pixels at once; each step multiplies two inputs of a pixel by two weights of each
channel. A word of the stream has the four weights in two halves `256 * a + b` (as `fully_connected/pairs`): `SMLAD`
with the word as it is sums `256 * A + B`, and with what `SXTB16` makes of it B. All is modulo 2^32; that A and B fit is
a part of the proof of the requantisation.

What differs between layers lies at the head of a layer's stream. Behind it come, for each pair of channels, start
values (unless all are 0), the parameters of each channel, in one packed word if that can be, and the words of all
steps; an odd channel is paired with one of zeros, which is written to the same place before it. Some layers hold the
words of a pair in RAM for all pixels of a row. `shared_code` writes the assembly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from midge.kernels.conv2d.column_order import channel_order, column_values
from midge.kernels.requantize_armv7em import Requantization, Scale, merged_scale
from midge.kernels.view import Rows
from midge.kernels.window import Window

SIZES = (3, 2)
"""Pixels of a block: threes, then twos."""
FRACTION_BITS = 8
"""What B is shifted left by, to be as fine as A."""
HELD_WORDS = 4
"""So many words of weights are copied at once."""
UNROLLS = (16, 12, 10, 8, 6, 5, 4, 3, 2, 1)
"""Steps in a round of a loop."""
_STEP_BYTES = {3: 42, 2: 30}
_ROUND_CYCLES, _SKIP_CYCLES = 4, 5
"""What a round takes beside its steps; what it takes to begin in the middle of the first one."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A layer among those that may share a function. `in_columns`: its rows are put in columns by the layer itself."""

    window: Window
    form: Requantization
    in_columns: bool
    holds: bool

    @property
    def family(self) -> tuple[object, ...]:
        """What is equal for all that share one: channels of a result may lie side by side or in planes."""
        form = self.form
        return replace(form.family, layout=replace(form.layout, planes=False)), form.parameters.shape[1]

    @property
    def start_bits(self) -> int:
        """What its start values need."""
        starts = self.form.starts
        if not self.form.has_starts:
            return 0
        biases = starts >> FRACTION_BITS
        is_short = np.all(biases << FRACTION_BITS == starts) and np.all(biases == biases.astype(np.int16))
        return 16 if is_short else 32

    @property
    def column_values(self) -> int:
        """Values of a column: one pixel of each row of taps."""
        return column_values(self.window)

    @property
    def steps(self) -> int:
        """Of a window: an odd number of values is filled up by a weight of 0."""
        return -(-self.window.kw * self.column_values // 2)

    @property
    def pixel_bytes(self) -> int:
        """From a window to the next one."""
        return 2 * self.window.stride_w * self.column_values

    @property
    def blocks(self) -> dict[int, int]:
        """How many blocks of each size: as many threes as can be, and no single pixel."""
        twos = -self.window.y.columns % 3
        return {3: (self.window.y.columns - 2 * twos) // 3, 2: twos}

    @property
    def channels(self) -> int:
        return self.window.y.channels

    @property
    def held_words(self) -> int:
        """Of the weights of a pair that are copied into RAM, so many at once."""
        return -(-self.steps // HELD_WORDS) * HELD_WORDS if self.holds else 0


def refuse(window: Window, weights: np.ndarray) -> str | None:
    """Why a convolution can't be a member. weights: int8 [O, KH, KW, I]."""
    if window.y.columns < SIZES[-1]:
        return "its rows are one pixel"
    if window.y.channels < 2:
        return "it has one channel"
    high, low = weights[: len(weights) // 2 * 2 : 2], weights[1::2]
    return "a pair of weights leaves 16 bits" if np.any((high == -128) & (low < 0)) else None


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What the function of some layers of one family depends on."""

    start_bits: int
    """Of a channel's start value in the stream: 0 where all start at 0; 16 where biases fit, which are then shifted."""
    parameter_words: int
    scale: Scale
    unrolls: tuple[tuple[int, int], ...]
    """(pixels, steps in a round) of each size of block that the layers have."""
    counts: tuple[tuple[int, int], ...]
    """(fewest, most) blocks of each of these sizes in a row."""
    has_rest: bool
    """Some layer's steps do not come out even in rounds."""
    has_single: bool
    """Some layer has an odd number of channels."""
    planes: bool
    """All results lie in planes: neighbouring pixels side by side."""
    has_planes: bool
    """Some do."""
    holds: bool
    """Some layer holds the weights of a pair of channels in RAM."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Words of a stream's head, in order."""
        sizes = [size for size, _ in self.unrolls]
        found = ["pixel", "run", *(f"blocks{size}" for size in sizes), *(f"advance{size}" for size in sizes)]
        found += ["pairs", "channel"]
        found += [] if self.planes else ["step"]
        found += ["single"] if self.has_single else []
        found += [f"skip{size}" for size in sizes] if self.has_rest else []
        found += ["held"] if self.holds else []
        found += ["factor"] if self.is_packed else []
        found += ["shift"] if self.has_shift else []
        return (*found, *(["lift"] if self.scale.lift is None else []))

    @property
    def is_packed(self) -> bool:
        """A channel's parameters are one word."""
        return self.scale.low_bits > 0

    @property
    def has_shift(self) -> bool:
        """Layers have a shift each, and channels none of their own."""
        return self.scale.shift is None and self.parameter_words == _NUMBERS

    @property
    def numbers(self) -> int:
        """Of a channel, in registers: multiplier, offset, and the shift or lowering where it is not in the code."""
        return 3 if self.is_packed or self.has_shift else self.parameter_words

    def head(self, member: Member, y: Rows) -> list[int]:
        """The words at the head of a layer's stream."""
        blocks = member.blocks
        values = {
            "pixel": member.pixel_bytes, "run": 4 * member.steps, "held": member.held_words,
            "pairs": member.channels // 2, "single": -(member.channels % 2),
            "channel": y.plane_bytes if member.form.layout.planes else y.dtype.bytes, "step": y.pixel_bytes,
            "factor": member.form.factor, "shift": member.form.code.shift or 0, "lift": member.form.lift,
        }  # fmt: skip
        for size, unroll in self.unrolls:
            advance = size * member.pixel_bytes - 4 * member.steps
            values |= {f"blocks{size}": blocks[size], f"advance{size}": advance, f"skip{size}": -member.steps % unroll}
        return [values[name] for name in self.fields]


_NUMBERS = 2
"""Parameters of a channel that has no shift or lowering: multiplier and offset."""


def shared(members: Sequence[Member], byte_cycles: float) -> Iterator[Shared]:
    """What the function of members of one family depends on: the fastest first, then with less code.

    `byte_cycles`: what it takes to fetch a byte of code, once for each row.
    """
    first = members[0]
    sizes = [size for size in SIZES if any(member.blocks[size] for member in members)]
    counts = [[member.blocks[size] for member in members] for size in sizes]
    for unrolls in sorted(
        product(UNROLLS, repeat=len(sizes)), key=lambda one: _loop_cycles(members, sizes, one, byte_cycles)
    ):
        yield Shared(
            max(member.start_bits for member in members), first.form.parameters.shape[1],
            merged_scale([member.form.code for member in members]), tuple(zip(sizes, unrolls, strict=True)),
            tuple((min(count), max(count)) for count in counts),
            _has_rest(members, unrolls),
            any(member.channels % 2 for member in members),
            all(member.form.layout.planes for member in members),
            any(member.form.layout.planes for member in members),
            any(member.holds for member in members),
        )  # fmt: skip


def _has_rest(members: Sequence[Member], unrolls: Sequence[int]) -> bool:
    return any(member.steps % unroll for member in members for unroll in unrolls)


def _loop_cycles(members: Sequence[Member], sizes: Sequence[int], unrolls: Sequence[int], byte_cycles: float) -> float:
    """What loops take that other ones might not."""
    has_rest = _has_rest(members, unrolls)
    code_bytes = sum(_STEP_BYTES[size] * unroll for size, unroll in zip(sizes, unrolls, strict=True))
    cycles = 0.0
    for member in members:
        cycles += member.window.y.rows * byte_cycles * code_bytes
        runs = member.window.y.rows * member.channels // 2
        for size, unroll in zip(sizes, unrolls, strict=True):
            own = _ROUND_CYCLES * -(-member.steps // unroll) + (_SKIP_CYCLES if has_rest else 0)
            own -= member.steps / 2 if takes_two(size, unroll, has_rest=has_rest) else 0
            cycles += runs * member.blocks[size] * own
    return cycles


def takes_two(size: int, unroll: int, *, has_rest: bool) -> bool:
    """Steps are written two at a time, which is a cycle less."""
    return size == 2 and unroll % 2 == 0 and not has_rest


def weight_stream(weights: np.ndarray, member: Member, function: Shared, y: Rows) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, KH, KW, I]."""
    outputs, _, kw, _ = weights.shape
    weights = weights[..., channel_order(member.window)] if member.in_columns else weights
    window = weights.transpose(0, 2, 1, 3).reshape(outputs, kw, -1).astype(np.int16)
    window = np.pad(window, ((0, outputs % 2), (0, 0), (0, member.column_values - window.shape[2])))
    flat = window.reshape(len(window), -1)
    flat = np.pad(flat, ((0, 0), (0, 2 * member.steps - flat.shape[1])))
    words = np.ascontiguousarray(256 * flat[0::2] + flat[1::2]).view(np.int32)
    odd = ((0, outputs % 2), (0, 0))
    starts = np.pad(member.form.starts[:, None], odd).reshape(len(words), 2)
    if function.start_bits == 16:
        starts = np.ascontiguousarray((starts >> FRACTION_BITS).astype(np.int16)).view(np.int32)
    else:
        starts = np.stack([starts[:, 0] + (starts[:, 1] >> FRACTION_BITS), starts[:, 1] >> FRACTION_BITS], axis=1)
    parameters = np.pad(member.form.parameters, odd).reshape(len(words), -1)
    pairs = [starts, parameters, words] if function.start_bits else [parameters, words]
    head = np.array(function.head(member, y), np.int64).astype(np.int32)
    return np.concatenate([head, np.concatenate(pairs, axis=1).astype(np.int32).reshape(-1)])
