"""Winograd's convolution of three taps, exact in integers: sizes, transformed weights, the order of the stream.

Two neighbouring outputs of a row of three taps w take four products instead of six. Of inputs d0…d3:

    m0 = 2w0·(d0 − d2)/2        m1 = (w0 + w1 + w2)·(d1 + d2)/2
    m3 = 2w2·(d3 − d1)/2        m2 = (w0 − w1 + w2)·(d2 − d1)/2
    y0 = m0 + m1 + m2           y1 = m1 − m2 + m3

The halves are exact: a widened row holds multiples of 2^6. The form of two dimensions does the same to columns of the
result: 16 products for 2x2 outputs of nine taps instead of 36. Whatever partial sums do, arithmetic is modulo 2^32, and
the results are those of the plain convolution. docs/winograd.md has ranges and figures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.window import Window

SLOTS = (1, 2, 0, 3)
"""The order that the four products of one dimension are made in."""
_WEIGHTS = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])[list(SLOTS)]
"""From three taps to four weights, in that order."""

STEP_CYCLES = {4: 16, 3: 12, 2: 9, 1: 6}
"""Of a step, by the tiles of a block: two products for each of two channels of each tile."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. A tile is two outputs side by side, or four in a square where the form is `planar`."""

    planar: bool
    taps: int
    """Rows of taps that are summed up within a product: all of them, or one where the form is planar."""
    inputs: int
    outputs: int
    columns: int
    tiles: int
    """Of a block; the last block of a row may start within the one before it, and make its outputs again."""
    from_bytes: bool
    """Weights are of 8 bits, and transformed for each row of tiles."""
    loop_bytes: int
    """Code that a loop may take before it runs slower than a shorter one would."""

    @property
    def lines(self) -> int:
        """Lines of four products: one, or four where the form is planar."""
        return 4 if self.planar else 1

    @property
    def rows(self) -> int:
        """Input rows read by a step of the layer."""
        return 4 if self.planar else self.taps

    @property
    def row_words(self) -> int:
        """Pairs of input channels; what a row of weights is filled up with is multiplied by zero."""
        return 2 * -(-self.inputs // 4) if self.from_bytes else -(-self.inputs // 2)

    @property
    def over_bytes(self) -> int:
        """How far past its last channel a pixel is read."""
        return 4 * self.row_words - 2 * self.inputs

    @property
    def steps(self) -> int:
        """Words of weights, for each of two channels, that one product is summed up from."""
        return self.taps * self.row_words

    @property
    def pixel_bytes(self) -> int:
        return 2 * self.inputs

    @property
    def pass_bytes(self) -> int:
        """Transformed inputs of one product of all tiles."""
        return 4 * self.steps * self.tiles

    @property
    def block_bytes(self) -> int:
        """Transformed inputs of a block."""
        return 4 * self.lines * self.pass_bytes

    @property
    def line_bytes(self) -> int:
        """Start values and weights of a line, of two channels."""
        return 4 * (2 + 8 * self.steps)

    @property
    def scratch_bytes(self) -> int:
        """Transformed inputs of a block; or of all blocks of a row, and transformed weights of two channels."""
        return self.blocks * self.block_bytes + self.lines * self.line_bytes if self.from_bytes else self.block_bytes

    @property
    def block_columns(self) -> int:
        return 2 * self.tiles

    @property
    def blocks(self) -> int:
        return -(-self.columns // self.block_columns)

    @property
    def last_advance(self) -> int:
        """Columns from the last but one block to the last."""
        return self.columns - self.block_columns * (self.blocks - 1)

    @property
    def step_bytes(self) -> int:
        """Code of one step."""
        return 4 * (2 + 3 * self.tiles)

    @property
    def unroll(self) -> int:
        """Steps in the body of the loop of one product: all, where half of a loop's code holds them."""
        most = max(1, self.loop_bytes // 2 // self.step_bytes)
        return next(n for n in range(self.steps, 0, -1) if self.steps % n == 0 and n <= most)

    @property
    def pair_words(self) -> int:
        """Words of the stream for two channels, without what scales their accumulators."""
        return 2 + 9 * self.row_words if self.from_bytes else 2 * self.lines * (1 + 4 * self.steps)


def shape_of(window: Window, loop_bytes: int, *, planar: bool, from_bytes: bool = False) -> Shape:
    """The shape of a convolution of stride 1 with three taps in a row."""
    columns = window.y.columns
    legal = [tiles for tiles in STEP_CYCLES if 2 * tiles <= columns]
    tiles = min(legal, key=lambda tiles: -(-columns // (2 * tiles)) * STEP_CYCLES[tiles])
    taps = 1 if planar else window.kh
    return Shape(planar, taps, window.x.channels, window.y.channels, columns, tiles, from_bytes, loop_bytes)


def transformed(weights: np.ndarray, *, planar: bool) -> np.ndarray:
    """int16 [O, lines, 4, values] of weights int8 [O, KH, 3, I]: at most 9 · 128 and 4 · 128 in magnitude."""
    along = np.einsum("pk,ohki->ohpi", _WEIGHTS, weights.astype(np.int64))
    if planar:
        return np.einsum("lh,ohpi->olpi", _WEIGHTS, along).astype(np.int16)
    return np.moveaxis(along, 1, 2).reshape(len(weights), 1, 4, -1).astype(np.int16)


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, KH, 3, I].

    For each pair of channels: for each line their start values and the words of four products; then what scales their
    accumulators. The first product of the first line is part of all outputs, and so are start values there.
    """
    weights = np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, shape.over_bytes // 2)))
    if shape.from_bytes:
        return _stream_of_bytes(weights, requantization)
    outputs = len(weights)
    words = np.ascontiguousarray(transformed(weights, planar=shape.planar)).view(np.int32)
    words = words.reshape(outputs, shape.lines, -1)
    starts = np.zeros((outputs, shape.lines, 1), np.int32)
    starts[:, 0, 0] = requantization.starts
    lines = np.concatenate([starts, words], axis=2)
    parts: list[np.ndarray] = []
    for first in range(0, outputs, 2):
        pair = slice(first, first + 2)
        parts += [lines[pair].transpose(1, 2, 0).reshape(-1), requantization.parameters[pair].reshape(-1)]
    return np.concatenate(parts)


def _stream_of_bytes(weights: np.ndarray, requantization: Requantization) -> np.ndarray:
    """For each pair of channels: of each channel nine words for four inputs, as `SXTB16` wants them; start values; what
    scales them."""
    outputs, inputs = len(weights), weights.shape[3]
    fours = weights.reshape(outputs, 9, inputs // 4, 4)[..., [0, 2, 1, 3]].transpose(0, 2, 1, 3)
    words = np.ascontiguousarray(fours).view(np.int32).reshape(outputs, -1)
    parts: list[np.ndarray] = []
    for first in range(0, outputs, 2):
        pair = slice(first, first + 2)
        parts += [words[pair].reshape(-1), requantization.starts[pair], requantization.parameters[pair].reshape(-1)]
    return np.concatenate(parts)
