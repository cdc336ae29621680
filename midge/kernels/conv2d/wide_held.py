"""Weights of a convolution that lie in flash as bytes and are widened into RAM once, by its first step."""

from __future__ import annotations

import numpy as np

from midge.kernels import render
from midge.kernels.base import Constant, Function
from midge.kernels.conv2d.wide import Shape, ordered_halves, pair_words
from midge.kernels.results_armv7em import Results


def function(shape: Shape, requantization: Results) -> Function:
    """`void name(uint32_t *stream, const int8_t *weights, const int32_t *numbers)`: writes the stream into RAM."""
    starts, weights, parameters = pair_words(shape, requantization)
    pairs, single = divmod(shape.channels, 2)
    parts = [(pairs, 2)] * (pairs > 0) + [(1, 1)] * single
    name = f"midge_widen_stream_{shape.channels}x{starts}w{weights}p{parameters}"
    return render.function(
        "conv2d/widen.c.j2", name, starts=starts, weights=weights, parameters=parameters, parts=parts
    )


def constants(weights: np.ndarray, shape: Shape, requantization: Results) -> tuple[Constant, ...]:
    """Weights in the order of the stream, bytes 1 and 2 of each four exchanged; the stream's other words."""
    outputs = len(weights)
    flat = ordered_halves(weights, shape)
    parts, numbers = [], []
    for first in range(0, outputs, 2):
        pair = slice(first, min(first + 2, outputs))
        ordered = flat[pair].transpose(1, 0, 2).reshape(-1)
        ordered = np.pad(ordered, (0, -len(ordered) % 4)).reshape(-1, 4)[:, [0, 2, 1, 3]]
        parts.append(ordered.reshape(-1))
        numbers += [requantization.starts[pair]] if requantization.has_starts else []
        numbers.append(requantization.parameters[pair].reshape(-1))
    return (
        Constant("weights", np.concatenate(parts).astype(np.int8), 4),
        Constant("numbers", np.concatenate(numbers).astype(np.int32), 4),
    )
