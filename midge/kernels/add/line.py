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
NUDGES = sorted(product(range(-10, 11), repeat=2), key=lambda pair: abs(pair[0]) + abs(pair[1]))
"""Changes of both factors that are tried, smallest first."""


@dataclass(frozen=True, slots=True)
class Line:
    """Factors of the operands as they are stored (zero points and all), and what is added before the shift."""

    a_factor: int
    b_factor: int
    offset: int
    shift: int


def find_line(node: Node, graph: Graph) -> Line | None:
    """The line of an int8 sum or difference of two values; None where none was found."""
    a, b = (graph.type(name or "").quantization for name in node.inputs)
    y = graph.type(node.outputs[0]).quantization
    assert a is not None and b is not None and y is not None
    results = reference_results(node, graph)
    order = np.argsort(results, axis=None, kind="stable")
    sorted_results = results.reshape(-1)[order]
    firsts = np.flatnonzero(np.diff(sorted_results)) + 1
    wanted = sorted_results[firsts]
    reals = (a.scale / y.scale, b.scale / y.scale)
    base = abs(y.zero_point - a.zero_point * reals[0] - b.zero_point * reals[1]) + 1
    shift = int(np.floor(31 - np.log2(128 * (reals[0] + reals[1]) + base)))
    for nudge in NUDGES:
        factors = [round(real * 2**shift) + change for real, change in zip(reals, nudge, strict=True)]
        sums = (_BYTES[:, None] * factors[0] + _BYTES[None, :] * factors[1]).reshape(-1)[order]
        highest_below = np.maximum.accumulate(sums)[firsts - 1]
        lowest_above = np.minimum.accumulate(sums[::-1])[::-1][firsts]
        least, most = ((wanted << shift) - lowest_above).max(), ((wanted << shift) - 1 - highest_below).min()
        if least <= most and abs(most) < 2**31:
            return Line(factors[0], factors[1], int(least + most) // 2, shift)
    return None


def reference_results(node: Node, graph: Graph) -> np.ndarray:
    """int64 [256, 256]: the results for every pair of bytes, from -128 on."""
    inputs, outputs = graph.input_types(node), graph.output_types(node)
    left, right = np.meshgrid(_BYTES.astype(np.int8), _BYTES.astype(np.int8), indexing="ij")
    flat = [type_ and type_.__class__(type_.dtype, left.shape, type_.quantization) for type_ in inputs]
    shape = [outputs[0].__class__(outputs[0].dtype, left.shape, outputs[0].quantization)]
    return node.op.evaluate([left, right], flat, shape)[0].astype(np.int64)
