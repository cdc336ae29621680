"""One function for convolutions of several sizes on widened rows, where flash comes before latency: what they share.

A step multiplies two inputs of each pixel by two weights of each of two channels. A word of the stream holds these four
weights as bytes, a0 b0 a1 b1: `SXTB16` makes (a0, a1) of it, and (b0, b1) with a rotation. Inputs are reached by
registers, not by offsets in the code, so a pixel may have any size. What else differs between layers (sizes, shifts)
lies at the head of a layer's stream. Behind it come, for each pair of channels, start values (unless all are 0),
the words of all steps, and the parameters of each channel, in one packed word if that can be; an odd channel is paired
with one of zeros, which is written to the same place before it. `shared_code` writes the assembly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from midge.kernels.layouts import WIDE
from midge.kernels.requantize_armv7em import Requantization, Scale, merged_scale
from midge.kernels.view import Rows
from midge.kernels.window import Window

SIZES = (3, 2)
"""Pixels of a block: threes, then twos."""
START_SHIFT = WIDE.fraction_bits or 0
STEP_BYTES = {3: 48, 2: 36}
_BESIDE_BYTES = {3: 210, 2: 170}
"""Code of a step, and of what else a block has, at most."""
_UNROLLS = ((6, 2), (4, 2), (2, 2), (2, 1), (1, 1))


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A layer among those that may share a function."""

    window: Window
    form: Requantization

    @property
    def family(self) -> tuple[object, ...]:
        """What is equal for all that share one: channels of a result may lie side by side or in planes."""
        form = self.form
        scale = replace(form.family, layout=replace(form.layout, planes=False))
        return self.window.kh, scale, form.parameters.shape[1]

    @property
    def start_bits(self) -> int:
        """What its start values need."""
        starts = self.form.starts
        if not self.form.has_starts:
            return 0
        biases = starts >> START_SHIFT
        is_short = np.all(biases << START_SHIFT == starts) and np.all(biases == biases.astype(np.int16))
        return 16 if is_short else 32

    @property
    def steps(self) -> int:
        """Of a row of taps."""
        return -(-self.window.kw * self.window.x.channels // 2)

    @property
    def blocks(self) -> dict[int, int]:
        """How many blocks of each size: as many threes as can be, and no single pixel."""
        twos = -self.window.y.columns % 3
        return {3: (self.window.y.columns - 2 * twos) // 3, 2: twos}

    @property
    def channels(self) -> int:
        return self.window.y.channels


def refuse(window: Window) -> str | None:
    """Why a convolution needs a function of its own."""
    if window.y.columns < SIZES[-1]:
        return "its rows are one pixel"
    return "it has one channel" if window.y.channels < 2 else None


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What the function of some layers of one family depends on."""

    kh: int
    start_bits: int
    """Of a channel's start value in the stream: 0 where all start at 0; 16 where biases fit, which are then shifted."""
    parameter_words: int
    scale: Scale
    unrolls: tuple[tuple[int, int], ...]
    """(pixels, steps in a round) of each size of block that the layers have."""
    has_rest: bool
    """Some layer's steps do not come out even in rounds."""
    has_single: bool
    """Some layer has an odd number of channels."""
    planes: bool
    """All results lie in planes: neighbouring pixels side by side."""
    has_planes: bool
    """Some do."""

    @property
    def pairs_outside(self) -> bool:
        """All pixels of a row for one pair of channels, then the next pair: few weights are read again from a cache."""
        return self.kh == 1

    @property
    def fields(self) -> tuple[str, ...]:
        """Words of a stream's head, in order."""
        sizes = [size for size, _ in self.unrolls]
        found = ["pixel", "run", *(f"blocks{size}" for size in sizes), "pairs", "channel"]
        found += [] if self.planes else ["step"]
        found += ["single"] if self.has_single else []
        found += [f"skip{size}" for size in sizes] if self.has_rest else []
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
        return self.scale.shift is None and self.parameter_words == _NUMBERS and not self.scale.is_literal

    def head(self, member: Member, y: Rows) -> list[int]:
        """The words at the head of a layer's stream."""
        blocks, window = member.blocks, member.window
        values = {
            "pixel": window.stride_w * window.x.channels * 2, "run": 4 * member.steps,
            "pairs": member.channels // 2, "single": -(member.channels % 2),
            "channel": y.plane_bytes if member.form.layout.planes else y.dtype.bytes, "step": y.pixel_bytes,
            "factor": member.form.factor, "shift": member.form.code.shift or 0, "lift": member.form.lift,
        }  # fmt: skip
        for size, unroll in self.unrolls:
            values |= {f"blocks{size}": blocks[size], f"skip{size}": -member.steps % unroll}
        return [values[name] for name in self.fields]


_NUMBERS = 2
"""Parameters of a channel that has no shift or lowering: multiplier and offset."""


def shared(members: Sequence[Member], loop_bytes: int) -> Shared:
    """What the function of members of one family depends on.

    Its innermost loops take about `loop_bytes` at most, and half of it where it serves one layer only.
    """
    first = members[0]
    sizes = [size for size in SIZES if any(member.blocks[size] for member in members)]
    loop_bytes = loop_bytes // 2 if len(members) == 1 else loop_bytes
    chosen = _UNROLLS[-1]
    for unrolls in _UNROLLS:
        code = [_BESIDE_BYTES[size] + STEP_BYTES[size] * unroll for size, unroll in zip(SIZES, unrolls, strict=True)
                if size in sizes]  # fmt: skip
        if (sum(code) if first.window.kh == 1 else max(code)) <= loop_bytes:
            chosen = unrolls
            break
    most = max(member.steps for member in members)
    unrolls = tuple((size, min(unroll, most)) for size, unroll in zip(SIZES, chosen, strict=True) if size in sizes)
    return Shared(
        first.window.kh, max(member.start_bits for member in members), first.form.parameters.shape[1],
        merged_scale([member.form.code for member in members]), unrolls,
        any(member.steps % unroll for member in members for _, unroll in unrolls),
        any(member.channels % 2 for member in members),
        all(member.form.layout.planes for member in members),
        any(member.form.layout.planes for member in members),
    )  # fmt: skip


def weight_stream(weights: np.ndarray, member: Member, function: Shared, y: Rows) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, KH, KW, I]."""
    outputs, kh = weights.shape[:2]
    flat = weights.reshape(outputs, kh, -1)
    even = np.pad(flat, ((0, outputs % 2), (0, 0), (0, flat.shape[2] % 2)))
    quads = even.reshape(-1, 2, kh * member.steps, 2).transpose(0, 2, 3, 1)  # [pairs, steps, inputs, a and b]
    words = np.ascontiguousarray(quads).reshape(len(quads), -1).view(np.int32)
    odd = ((0, outputs % 2), (0, 0))
    starts = np.pad(member.form.starts[:, None], odd).reshape(len(quads), -1)
    if function.start_bits == 16:
        starts = np.ascontiguousarray((starts >> START_SHIFT).astype(np.int16)).view(np.int32)
    parameters = np.pad(member.form.parameters, odd).reshape(len(quads), -1)
    pairs = [starts, words, parameters] if function.start_bits else [words, parameters]
    head = np.array(function.head(member, y), np.int64).astype(np.int32)
    return np.concatenate([head, np.concatenate(pairs, axis=1).reshape(-1)])
