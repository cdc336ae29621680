"""Nested loops over arrays with strides, as few as the strides allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

VARIABLES = "ijklmnop"
"""Names of the loop variables, outermost first; as many as a tensor may have dimensions."""


@dataclass(frozen=True, slots=True)
class Loop:
    """`count` turns; `strides[a]` elements lie between two turns in array a."""

    variable: str
    count: int
    strides: tuple[int, ...]


def merged_loops(counts: Sequence[int], strides: Sequence[Sequence[int]], variables: str = VARIABLES
                 ) -> tuple[Loop, ...]:  # fmt: skip
    """Loops over dimensions of these counts, outermost first; `strides[a][d]` is array a's stride of dimension d.

    Dimensions of one turn are left out, and two that every array walks through as if they were one become one.
    """
    found: list[tuple[int, tuple[int, ...]]] = []
    for count, steps in zip(counts, zip(*strides, strict=True), strict=True):
        if count == 1:
            continue
        if found and all(outer == inner * count for outer, inner in zip(found[-1][1], steps, strict=True)):
            found[-1] = (found[-1][0] * count, steps)
        else:
            found.append((count, steps))
    return tuple(Loop(variable, *pair) for variable, pair in zip(variables, found, strict=False))


def index_text(loops: Sequence[Loop], array: int) -> str:
    """C expression of an array's index inside the loops."""
    terms = []
    for loop in loops:
        stride = loop.strides[array]
        if stride:
            terms.append(loop.variable if stride == 1 else f"{loop.variable} * {stride}")
    return " + ".join(terms) or "0"


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of an array without gaps."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def broadcast_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of an array that is broadcast: 0 along dimensions of size 1."""
    return tuple(0 if size == 1 else stride for size, stride in zip(shape, dense_strides(shape), strict=True))
