"""Convolutions on widened rows: their shape, how pixels are cut into blocks, and the stream of their weights.

One step multiplies four inputs of each pixel by four weights of each channel:

    weights   w0 w2 w1 w3 | of the second channel      a word each, widened by SXTB16 to (w0, w1) and (w2, w3)
    inputs    (x0, x1) (x2, x3)                        widened already, two words for each pixel

Where a row of taps does not come out even, and where speed is worth twice the memory, a half step takes two inputs, and
a word holds two weights widened already. The stream holds for each pair of channels: start values (unless all are 0),
the weights of all steps, multipliers and offsets. `wide_code` writes the assembly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import core_loop_bytes
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.window import Window
from midge.targets.records import Core

INSTRUCTION_BYTES = 4
"""Of nearly all instructions of these kernels: they use high registers."""
_HALF_STEP_CYCLES = {False: {4: 16, 3: 12, 2: 9, 1: 6}, True: {4: 12, 3: 8.6, 2: 7, 1: 5}}
"""By pixels, on cores that issue one instruction at a time (consecutive loads take a cycle each, and one more) or two
(measured on the Cortex-M7's model)."""
_BLOCK_CYCLES, _PIXEL_CYCLES = 20, 6
"""What a block and each pixel of it take besides."""


def step_bytes(size: int, pixels: int) -> int:
    """Code of one step that reads `size` bytes of inputs of each pixel, for two channels."""
    loads_and_products = 2 + 3 * pixels if size == 4 else 2 + 4 + 6 * pixels
    return INSTRUCTION_BYTES * loads_and_products


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
    full_steps: int
    """Steps of four inputs in one row of taps."""
    half_steps: int
    """Steps of two inputs that follow them."""
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

    @property
    def run_words(self) -> int:
        """Words of weights of one row of taps."""
        return self.full_steps + self.half_steps

    @property
    def run_bytes(self) -> int:
        """Inputs that one row of taps reads."""
        return 8 * self.full_steps + 4 * self.half_steps

    def loop(self, steps: int, step_bytes: int) -> Loop:
        """How `steps` steps are cut into rounds: as few rounds as there is room for."""
        most = max(1, self.steps_bytes // step_bytes)
        if steps <= most:
            return Loop(0, 0, steps)
        loops = [Loop(steps // unroll, unroll, steps % unroll) for unroll in range(1, most + 1)]
        return min((loop for loop in loops if loop.unroll + loop.rest <= most), key=lambda loop: loop.rounds)

    def is_straight(self, pixels: int) -> bool:
        """In blocks of that many pixels all rows of taps are written out one after the other."""
        code_bytes = self.full_steps * step_bytes(8, pixels) + self.half_steps * step_bytes(4, pixels)
        return self.kh * code_bytes <= self.steps_bytes

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(pixels, how often), of at most two sizes: what takes least time."""

        def cycles(blocks: tuple[tuple[int, int], ...]) -> float:
            half_step_cycles = _HALF_STEP_CYCLES[self.is_dual_issue]
            steps = self.kh * (2 * self.full_steps + self.half_steps)
            return sum(
                count * (steps * half_step_cycles[pixels] + _BLOCK_CYCLES + pixels * _PIXEL_CYCLES)
                for pixels, count in blocks
            )

        sizes = (4, 3, 2, 1) if not self.full_steps else (3, 2, 1)
        ways = [
            tuple((pixels, count) for pixels, count in ((large, times), (small, rest // small)) if count)
            for large in sizes
            for small in sizes
            if small < large or large == 1
            for times in range(self.columns // large + 1)
            if (rest := self.columns - large * times) % small == 0
        ]
        return min(ways, key=cycles)


def shape_of(window: Window, core: Core, weight_bits: int, *, pairs_outside: bool) -> Shape:
    """The shape of a convolution without groups or dilation along the row; weights of 8 bits, or widened to 16."""
    loop_bytes = core_loop_bytes(core)
    full_steps, half_steps = full_and_half_steps(window, weight_bits)
    return Shape(
        kh=window.kh,
        full_steps=full_steps,
        half_steps=half_steps,
        pixel_bytes=window.stride_w * window.x.channels * 2,
        columns=window.y.columns,
        channels=window.y.channels,
        loop_bytes=loop_bytes,
        pairs_outside=pairs_outside,
        steps_bytes=loop_bytes,
        is_dual_issue=core.timing.get("model") == "dual-issue",
    )


def full_and_half_steps(window: Window, weight_bits: int) -> tuple[int, int]:
    """Steps of one row of taps."""
    values = window.kw * window.x.channels
    full, rest = divmod(values, 4)
    if weight_bits == 16:
        return 0, -(-values // 2)
    return (full + 1, 0) if rest == 3 else (full, -(-rest // 2))


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, KH, KW, I]."""
    outputs, kh = weights.shape[:2]
    flat = weights.reshape(outputs, kh, -1)
    flat = np.pad(flat, ((0, 0), (0, 0), (0, shape.run_bytes // 2 - flat.shape[2])))
    full = flat[:, :, : 4 * shape.full_steps].reshape(outputs, kh, shape.full_steps, 4)[..., [0, 2, 1, 3]]
    half = flat[:, :, 4 * shape.full_steps :].astype(np.int16)
    parts_of_rows = [
        np.ascontiguousarray(part).view(np.int32).reshape(outputs, kh, -1) for part in (full, half) if part.size
    ]
    words = np.concatenate(parts_of_rows, axis=2).reshape(outputs, -1)
    starts, parameters = requantization.starts, requantization.parameters
    parts: list[np.ndarray] = []
    for first in range(0, outputs, 2):
        pair = slice(first, min(first + 2, outputs))
        parts += [starts[pair]] if requantization.has_starts else []
        parts += [words[pair].T.reshape(-1), parameters[pair].reshape(-1)]
    return np.concatenate(parts)


def pair_words(shape: Shape, requantization: Requantization) -> tuple[int, int, int]:
    """Words of the stream for one channel: start values, weights, parameters."""
    return int(requantization.has_starts), shape.kh * shape.run_words, requantization.parameters.shape[1]


def reaches_far(shape: Shape, y_pixel_bytes: Sequence[int]) -> bool:
    """True where an offset would leave the 12 bits of a load or store."""
    most = shape.run_bytes + 3 * shape.pixel_bytes
    return max(most, *(3 * size + 4 for size in y_pixel_bytes)) > 4095
