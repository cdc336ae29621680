"""Elements in another order: transposes, slices, repeats (docs/numerics.md, "Data movement")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only

_MOST_LOOPS = 6


@dataclass(frozen=True, slots=True)
class Rearrange(Op):
    """Operand x; result of shape `shape`, filled by nested loops over x, the last one fastest.

    Loop k turns `counts[k]` times and moves by `strides[k]` elements of x; the first element is number `offset` of x.
    """

    name: ClassVar[str] = "rearrange"
    shape: tuple[int, ...]
    offset: int
    counts: tuple[int, ...]
    strides: tuple[int, ...]

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(output.shape == self.shape, f"an output of shape {list(output.shape)}", f"{list(self.shape)}")
        self.expect(len(self.counts) == len(self.strides) and min(self.counts, default=1) >= 1,
                    f"counts {self.counts} and strides {self.strides}", "a stride for each count")  # fmt: skip
        self.expect(math.prod(self.counts) == output.elements, f"loops of {math.prod(self.counts)} turns",
                    f"{output.elements}, one for each element")  # fmt: skip
        reach = [(count - 1) * stride for count, stride in zip(self.counts, self.strides, strict=True)]
        low, high = self.offset + sum(min(r, 0) for r in reach), self.offset + sum(max(r, 0) for r in reach)
        self.expect(
            low >= 0 and high < x.elements, f"elements {low} to {high} of {x.elements}", "elements of the input"
        )
        self.expect((x.dtype, x.quantization) == (output.dtype, output.quantization), "another type or quantisation",
                    "the input's")  # fmt: skip

    def positions(self) -> np.ndarray:
        """int64 [elements of the result]: where each lies in x."""
        found = np.full(1, self.offset, np.int64)
        for count, stride in zip(self.counts, self.strides, strict=True):
            found = (found[:, None] + np.arange(count, dtype=np.int64) * stride).reshape(-1)
        return found

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        return (x.reshape(-1)[self.positions()].reshape(self.shape),)


def rearrangement(positions: np.ndarray) -> Rearrange | None:
    """The operator whose result holds these positions of x, in their shape; None where it takes many loops."""
    flat = positions.reshape(-1)
    counts: list[int] = []
    strides: list[int] = []
    while flat.size > 1:
        count, stride = _run(flat)
        if count == 1 or len(counts) == _MOST_LOOPS:
            return None
        counts.append(count)
        strides.append(stride)
        flat = flat[::count]
    return Rearrange(positions.shape, int(flat[0]), tuple(counts[::-1]) or (1,), tuple(strides[::-1]) or (0,))


def _run(flat: np.ndarray) -> tuple[int, int]:
    """The longest run with one stride that the whole is made of; its length divides the whole's."""
    stride = int(flat[1] - flat[0])
    differs = np.flatnonzero(np.diff(flat) != stride)
    longest = int(differs[0]) + 1 if differs.size else flat.size
    for count in range(longest, 1, -1):
        if flat.size % count == 0:
            blocks = flat.reshape(-1, count)
            if np.array_equal(blocks, blocks[:, :1] + np.arange(count) * stride):
                return count, stride
    return 1, 0


def _case(label: str, source: tuple[int, ...], shape: tuple[int, ...], offset: int, counts: tuple[int, ...],
          strides: tuple[int, ...], dtype: DType = DType.INT8) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(source), None)], floats(shape)
        scale = scale_of(rng, 0.1)
        return [("x", quantized(source, scale, -7, dtype), None)], quantized(shape, scale, -7, dtype)

    return case(label, Rearrange(shape, offset, counts, strides), make)


CASES: tuple[Case, ...] = (
    _case("to_channels_first", (1, 3, 4, 5), (1, 5, 3, 4), 0, (5, 12), (1, 5)),
    _case("to_channels_last", (1, 5, 3, 4), (1, 3, 4, 5), 0, (12, 5), (1, 12)),
    _case("rows_and_columns", (1, 3, 4, 5), (1, 4, 3, 5), 0, (4, 3, 5), (5, 20, 1)),
    _case("some_rows", (1, 6, 4, 3), (1, 3, 4, 3), 12, (3, 12), (12, 1)),
    _case("some_columns", (1, 4, 6, 3), (1, 4, 2, 3), 6, (4, 6), (18, 1)),
    _case("every_other", (1, 6, 7, 3), (1, 3, 4, 3), 0, (3, 4, 3), (42, 6, 1)),
    _case("some_channels", (1, 4, 3, 8), (1, 4, 3, 3), 2, (12, 3), (8, 1)),
    _case("backwards", (1, 9), (1, 9), 8, (9,), (-1,)),
    _case("rows_backwards", (1, 4, 5, 2), (1, 4, 5, 2), 30, (4, 10), (-10, 1)),
    _case("repeated", (1, 1, 1, 4), (1, 3, 2, 4), 0, (6, 4), (0, 1)),
    _case("channel_shuffle", (1, 3, 2, 8), (1, 3, 2, 8), 0, (6, 4, 2), (8, 1, 4)),
    _case("across_rows", (1, 3, 5, 2), (1, 5, 6), 0, (10, 3), (1, 10)),
    _case("vector_to_rows", (1, 24), (1, 4, 3, 2), 0, (4, 2, 3), (1, 12, 4)),
    _case("loops_across_rows", (1, 30), (1, 5, 3, 2), 0, (6, 5), (1, 6)),
    _case("float", (1, 3, 4, 5), (1, 5, 3, 4), 0, (5, 12), (1, 5), DType.FLOAT32),
    _case("int16", (1, 3, 4, 5), (1, 5, 3, 4), 0, (5, 12), (1, 5), DType.INT16),
)  # fmt: skip
