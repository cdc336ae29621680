"""A quantised sum as one line: `clamp((a * A + b * B + C) >> shift)`, shown equal for all 65536 pairs of operands.

The reference scales each addend and the sum with roundings of their own (docs/numerics.md). Over two bytes there is
nothing to argue about: every pair is tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from midge.ir.graph import Graph, Node

_BYTES = np.arange(-128, 128, dtype=np.int64)
_FAR = 1 << 62
NUDGES = sorted(product(range(-10, 11), repeat=2), key=lambda pair: abs(pair[0]) + abs(pair[1]))
"""Changes of both factors that are tried, smallest first."""


@dataclass(frozen=True, slots=True)
class Line:
    """Factors of the operands as they are stored (zero points and all), and what is added before the shift."""

    a_factor: int
    b_factor: int
    offset: int
    shift: int


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """What a line must keep to for the results of all pairs of bytes: arrays over the pairs, sorted by their results.

    A result may be one that no pair has: the pairs below and above it are as far apart as it takes.
    """

    order: np.ndarray
    reach: tuple[np.ndarray, np.ndarray]
    """Pairs from here on reach this result: the first of each, but for -128, to which a sum is clamped."""
    miss: tuple[np.ndarray, np.ndarray]
    """Pairs up to here miss this result: the last below the next one, but for 127."""

    @staticmethod
    def of(results: np.ndarray) -> Steps:
        """Of the results [256, 256], int64."""
        order = np.argsort(results, axis=None, kind="stable")
        found = results.reshape(-1)[order]
        steps = np.flatnonzero(np.diff(found))
        firsts, lasts = np.append(0, steps + 1), np.append(steps, found.size - 1)
        firsts, lasts = firsts[found[firsts] > -128], lasts[found[lasts] < 127]
        return Steps(order, (firsts, found[firsts]), (lasts, found[lasts] + 1))

    def offset(self, sums: np.ndarray, shift: int) -> int | None:
        """What makes `(sums + offset) >> shift`, clamped, the results; None where nothing does within 32 bits.

        Of the numbers that do, the one in the middle, where there is one.
        """
        found = sums.reshape(-1)[self.order]
        highest, lowest = np.maximum.accumulate(found), np.minimum.accumulate(found[::-1])[::-1]
        (firsts, reached), (lasts, missed) = self.reach, self.miss
        least = ((reached << shift) - lowest[firsts]).max(initial=-_FAR)
        most = ((missed << shift) - 1 - highest[lasts]).min(initial=_FAR)
        offset = int(least if most == _FAR else most if least == -_FAR else (least + most) // 2)
        fits = found.min() + offset >= -(2**31) and found.max() + offset < 2**31
        return offset if least <= most and fits else None


def find_line(node: Node, graph: Graph) -> Line | None:
    """The line of an int8 sum or difference of two values; None where none was found."""
    a, b = (graph.type(name or "").quantization for name in node.inputs)
    y = graph.type(node.outputs[0]).quantization
    assert a is not None and b is not None and y is not None
    steps = Steps.of(reference_results(node, graph))
    reals = (a.scale / y.scale, b.scale / y.scale)
    base = abs(y.zero_point - a.zero_point * reals[0] - b.zero_point * reals[1]) + 1
    shift = int(np.floor(31 - np.log2(128 * (reals[0] + reals[1]) + base)))
    for nudge in NUDGES:
        factors = [round(real * 2**shift) + change for real, change in zip(reals, nudge, strict=True)]
        sums = _BYTES[:, None] * factors[0] + _BYTES[None, :] * factors[1]
        offset = steps.offset(sums, shift)
        if offset is not None and abs(offset) < 2**31:
            return Line(factors[0], factors[1], offset, shift)
    return None


def reference_results(node: Node, graph: Graph) -> np.ndarray:
    """int64 [256, 256]: the results for every pair of bytes, from -128 on."""
    inputs, outputs = graph.input_types(node), graph.output_types(node)
    left, right = np.meshgrid(_BYTES.astype(np.int8), _BYTES.astype(np.int8), indexing="ij")
    flat = [type_ and type_.__class__(type_.dtype, left.shape, type_.quantization) for type_ in inputs]
    shape = [outputs[0].__class__(outputs[0].dtype, left.shape, outputs[0].quantization)]
    return node.op.evaluate([left, right], flat, shape)[0].astype(np.int64)
