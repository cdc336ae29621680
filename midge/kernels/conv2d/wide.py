"""Convolutions on widened rows: their shape, how pixels are cut into blocks, and the stream of their weights.

One step multiplies four inputs of each pixel by four weights of each channel:

    weights   w0 w2 w1 w3 | of the second channel      a word each, widened by SXTB16 to (w0, w1) and (w2, w3)
    inputs    (x0, x1) (x2, x3)                        widened already, two words for each pixel

Where a row of taps does not come out even, and where speed is worth twice the memory, a half step takes two inputs, and
a word holds two weights widened already. Where three taps follow each other at stride 1, a sliding step takes the same
two inputs of three neighbouring pixels: the windows of a block's pixels share all but two of their columns, and each
word of inputs is loaded once. The stream holds for each pair of channels: start values (unless all are 0), the weights
of all steps, multipliers and offsets. `wide_code` and `wide_steps` write the assembly.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from midge.kernels.assembly import core_loop_bytes
from midge.kernels.results_armv7em import Results
from midge.kernels.window import Window
from midge.targets.records import Core

INSTRUCTION_BYTES = 4
"""Of nearly all instructions of these kernels: they use high registers."""


class Step(enum.Enum):
    """Kinds of steps: bytes of inputs that a row of taps moves on by, words of weights, pairs of inputs of a pixel."""

    FULL = (8, 1, 2)
    HALF = (4, 1, 1)
    SLIDING = (4, 3, 3)

    def __init__(self, bytes_: int, words: int, pairs: int) -> None:
        self.bytes = bytes_
        self.words = words
        self.pairs = pairs

    def code_bytes(self, pixels: int, channels: int = 2) -> int:
        """Code of one step for two or four channels: loads, widening and products."""
        if self is Step.SLIDING and slides(pixels):
            return INSTRUCTION_BYTES * (6 + pixels + 2 + 6 * pixels)
        widening = 4 if self is Step.FULL else 0
        return INSTRUCTION_BYTES * (channels * self.words + widening + (channels + 1) * self.pairs * pixels)

    def cycles(self, pixels: int, *, is_dual_issue: bool) -> float:
        """About what a step takes."""
        if self is Step.SLIDING and slides(pixels):
            return _SLIDING_STEP_CYCLES[is_dual_issue][pixels]
        widening = _WIDENING_CYCLES[is_dual_issue] if self is Step.FULL else 0
        return self.pairs * _HALF_STEP_CYCLES[is_dual_issue][pixels] + widening


def slides(pixels: int) -> bool:
    """Blocks whose sliding steps load each word of inputs once; of others it is three half steps."""
    return pixels in (2, 3)


_HALF_STEP_CYCLES = {False: {4: 16, 3: 12, 2: 9, 1: 6}, True: {4: 9, 3: 7, 2: 5, 1: 4}}
"""By pixels, on cores that issue one instruction at a time (consecutive loads take a cycle each, and one more) or two.

These and those below are differences of layers of 32 and 48 channels, on the models of the Cortex-M4 and M7."""
_WIDENING_CYCLES = {False: 2, True: 1}
_SLIDING_STEP_CYCLES = {False: {2: 24, 3: 32}, True: {2: 13, 3: 19}}
_QUAD_PART = 8 / 9
"""Of the time of two channels of two pixels, what they take in blocks of four channels."""
_STORE_BYTES, _ROUND_BYTES, _MOST_TOGETHER = 160, 1536, 4
"""Of a block's code, about what ends it; how long a round of short blocks may become, and of how many."""
_ROUND_CYCLES = {True: 5, False: 8}
"""Of a loop whose counter lies in a register, or in memory."""
_MOST_OUTPUTS = 8
_MOST_PARAMETERS = 3
_BLOCK_CYCLES, _PIXEL_CYCLES = {False: 15, True: 6.5}, {False: 7.5, True: 6.4}
"""What a block and each pixel of it take besides."""


@dataclass(frozen=True, slots=True)
class Loop:
    """`rounds` rounds of `unroll` steps, then `rest` steps."""

    rounds: int
    unroll: int
    rest: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code of a convolution depends on. All sizes in values unless they say bytes."""

    kh: int
    steps: tuple[tuple[Step, int], ...]
    """Of one row of taps, in this order."""
    pixel_bytes: int
    """From a pixel's window to the next one's."""
    columns: int
    channels: int
    loop_bytes: int
    """Code that a loop may take before it runs slower than a shorter one would."""
    pairs_outside: bool
    """All pixels of a row for one pair of channels, then the next pair: weights come from memory once for a row."""
    steps_bytes: int
    """Of a loop's code, what the steps of a block may take."""
    is_dual_issue: bool
    is_long: bool = False
    """Sums have 64 bits: blocks of at most two pixels by two channels, and half steps only."""

    @property
    def run_words(self) -> int:
        """Words of weights of one row of taps."""
        return sum(step.words * count for step, count in self.steps)

    @property
    def run_bytes(self) -> int:
        """Inputs that one row of taps reads."""
        return 4 * sum(step.pairs * count for step, count in self.steps)

    def loop(self, steps: int, step_bytes: int) -> Loop:
        """How `steps` steps are cut into rounds: as few rounds as there is room for."""
        most = max(1, self.steps_bytes // step_bytes)
        if steps <= most:
            return Loop(0, 0, steps)
        loops = [Loop(steps // unroll, unroll, steps % unroll) for unroll in range(1, most + 1)]
        return min((loop for loop in loops if loop.unroll + loop.rest <= most), key=lambda loop: loop.rounds)

    def row_code_bytes(self, pixels: int, channels: int = 2) -> int:
        """Code of one row of taps, all of it written out."""
        return sum(step.code_bytes(pixels, channels) * count for step, count in self.steps)

    def is_straight(self, pixels: int, channels: int = 2) -> bool:
        """In blocks of that size all rows of taps are written out one after the other."""
        return self.kh * self.row_code_bytes(pixels, channels) <= self.steps_bytes

    def rows_together(self, pixels: int, channels: int = 2) -> int:
        """How many rows of taps are written out in a round of their loop; 0 where there is no room for one."""
        most = self.steps_bytes // self.row_code_bytes(pixels, channels)
        return max((rows for rows in range(1, most + 1) if self.kh % rows == 0), default=0)

    def blocks_together(self, pixels: int, channels: int, count: int) -> int:
        """Of `count` blocks of channels how many are written out in a round of their loop: short ones, for speed."""
        block_bytes = self.kh * self.row_code_bytes(pixels, channels) + _STORE_BYTES
        if any(step is Step.FULL for step, _ in self.steps):
            return 1
        most = min(_MOST_TOGETHER, _ROUND_BYTES // block_bytes, self.steps_bytes // block_bytes)
        return max((together for together in range(1, most + 1) if count % together == 0), default=1)

    def leaves_register(self, pixels: int, channels: int = 2) -> bool:
        """Steps in blocks of that size leave `t` alone."""
        is_plain = all(step is Step.HALF for step, _ in self.steps) and not self.is_long
        return is_plain and pixels * channels < _MOST_OUTPUTS

    @property
    def takes_quads(self) -> bool:
        """Blocks of two pixels take four channels: two pairs, whose streams are near enough for an offset."""
        near = 8 * (1 + self.kh * self.run_words + _MOST_PARAMETERS) < 2048
        is_plain = self.steps[0][0] is Step.HALF and not self.is_long
        return near and self.channels >= 4 and not self.pairs_outside and is_plain

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(pixels, how often), of at most two sizes: what takes least time."""
        return _blocks(self)

    def ways(self) -> list[tuple[tuple[int, int], ...]]:
        """All that `blocks` may be."""
        sizes = (3, 2, 1) if any(step is Step.FULL for step, _ in self.steps) else (4, 3, 2, 1)
        sizes = (2, 1) if self.is_long else sizes
        return [
            tuple((pixels, count) for pixels, count in ((large, times), (small, rest // small)) if count)
            for large in sizes
            for small in sizes
            if small < large or large == 1
            for times in range(self.columns // large + 1)
            if (rest := self.columns - large * times) % small == 0
        ]

    def row_cycles(self, pair_fetch_cycles: float) -> float:
        """About what a row of pixels takes, if all weights of a pair of channels come from flash in so many cycles."""
        kinds = len(self.blocks) if self.pairs_outside else 1
        shape = replace(self, steps_bytes=max(self.loop_bytes // kinds - _STORE_BYTES, _STORE_BYTES))
        fetches = 1 if self.pairs_outside else sum(count for _, count in shape.blocks)
        return (shape.blocks_cycles(shape.blocks) + fetches * pair_fetch_cycles) * self.channels / 2

    def blocks_cycles(self, blocks: tuple[tuple[int, int], ...]) -> float:
        """About what these blocks take, for two channels."""
        block, pixel = _BLOCK_CYCLES[self.is_dual_issue], _PIXEL_CYCLES[self.is_dual_issue]
        return sum(count * (self._steps_cycles(pixels) + block + pixels * pixel) for pixels, count in blocks)

    def _steps_cycles(self, pixels: int) -> float:
        is_quad = pixels == 2 and self.takes_quads
        straight = sum(count * step.cycles(pixels, is_dual_issue=self.is_dual_issue) for step, count in self.steps)
        return self.kh * (straight * _QUAD_PART**is_quad + self._loop_cycles(pixels))

    def _loop_cycles(self, pixels: int) -> float:
        """What loops take for each row of taps."""
        if self.is_straight(pixels):
            return 0
        round_cycles = _ROUND_CYCLES[self.leaves_register(pixels)]
        rounds = sum(self.loop(count, step.code_bytes(pixels)).rounds for step, count in self.steps)
        rows = 0 if self.kh == 1 else 1 / max(1, self.rows_together(pixels))
        return round_cycles * (rounds + rows)


@lru_cache(maxsize=4096)
def _blocks(shape: Shape) -> tuple[tuple[int, int], ...]:
    """Planners ask for the same shape often."""
    return min(shape.ways(), key=shape.blocks_cycles)


def shape_of(window: Window, core: Core, weight_bits: int, *, pairs_outside: bool) -> Shape:
    """The shape of a convolution without groups or dilation along the row; weights of 8 bits, or widened to 16."""
    loop_bytes = core_loop_bytes(core)
    return Shape(
        kh=window.kh,
        steps=steps_of(window, weight_bits),
        pixel_bytes=window.stride_w * window.x.channels * 2,
        columns=window.y.columns,
        channels=window.y.channels,
        loop_bytes=loop_bytes,
        pairs_outside=pairs_outside,
        steps_bytes=loop_bytes,
        is_dual_issue=core.timing.get("model") == "dual-issue",
    )


def steps_of(window: Window, weight_bits: int) -> tuple[tuple[Step, int], ...]:
    """Steps of one row of taps."""
    values = window.kw * window.x.channels
    if weight_bits == 16:
        if (window.kw, window.stride_w) == (3, 1) and window.x.channels % 2 == 0:
            return ((Step.SLIDING, window.x.channels // 2),)
        return ((Step.HALF, -(-values // 2)),)
    full, rest = divmod(values, 4)
    full, half = (full + 1, 0) if rest == 3 else (full, -(-rest // 2))
    return tuple((step, count) for step, count in ((Step.FULL, full), (Step.HALF, half)) if count)


def over_bytes(window: Window, steps: tuple[tuple[Step, int], ...]) -> int:
    """How far past the end of a window its steps read."""
    return 4 * sum(step.pairs * count for step, count in steps) - 2 * window.kw * window.x.channels


def ordered_halves(weights: np.ndarray, shape: Shape) -> np.ndarray:
    """Pairs of weights of a shape without full steps, as the code reads them: int8 [O, words, 2]. weights as in a file.

    A sliding step reads a pair of channels of its first tap, of its second and of its third.
    """
    outputs, kh = weights.shape[:2]
    if shape.steps[0][0] is Step.SLIDING:
        return weights.reshape(outputs, kh, 3, -1, 2).swapaxes(2, 3).reshape(outputs, -1, 2)
    flat = weights.reshape(outputs, kh, -1)
    return np.pad(flat, ((0, 0), (0, 0), (0, flat.shape[2] % 2))).reshape(outputs, -1, 2)


def _ordered_words(weights: np.ndarray, shape: Shape) -> np.ndarray:
    """Weights as int32 words [O, words] in the order the code reads them. weights: int8 [O, KH, KW, I]."""
    outputs, kh = weights.shape[:2]
    full_steps = sum(count for step, count in shape.steps if step is Step.FULL)
    if not full_steps:
        return ordered_halves(weights, shape).astype(np.int16).view(np.int32).reshape(outputs, -1)
    flat = weights.reshape(outputs, kh, -1)
    flat = np.pad(flat, ((0, 0), (0, 0), (0, shape.run_bytes // 2 - flat.shape[2])))
    full = flat[:, :, : 4 * full_steps].reshape(outputs, kh, full_steps, 4)[..., [0, 2, 1, 3]]
    half = flat[:, :, 4 * full_steps :].astype(np.int16)
    parts = [np.ascontiguousarray(part).view(np.int32).reshape(outputs, kh, -1) for part in (full, half) if part.size]
    return np.concatenate(parts, axis=2).reshape(outputs, -1)


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Results) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, KH, KW, I]."""
    outputs = len(weights)
    words = _ordered_words(weights, shape)
    starts, parameters = requantization.starts, requantization.parameters
    parts: list[np.ndarray] = []
    for first in range(0, outputs, 2):
        pair = slice(first, min(first + 2, outputs))
        parts += [starts[pair].reshape(-1)] if requantization.has_starts else []
        parts += [words[pair].T.reshape(-1), parameters[pair].reshape(-1)]
    return np.concatenate(parts)


def pair_words(shape: Shape, requantization: Results) -> tuple[int, int, int]:
    """Words of the stream for one channel: start values, weights, parameters."""
    starts = (2 if shape.is_long else 1) if requantization.has_starts else 0
    return starts, shape.kh * shape.run_words, requantization.parameters.shape[1]


def reaches_far(shape: Shape, y_pixel_bytes: Sequence[int]) -> bool:
    """True where an offset would leave the 12 bits of a load or store."""
    most = shape.run_bytes + 3 * shape.pixel_bytes
    return max(most, *(3 * size + 32 for size in y_pixel_bytes)) > 4095
