"""Padding with zeros (docs/numerics.md, "Data movement")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Pad(Op):
    """Operand x; `paddings` holds (before, after) for each axis; the fill is real zero (the zero point)."""

    name: ClassVar[str] = "pad"
    paddings: tuple[tuple[int, int], ...]

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(len(self.paddings) == len(x.shape), f"{len(self.paddings)} paddings for rank {len(x.shape)}",
                    "a pair for each axis")  # fmt: skip
        self.expect(all(min(pair) >= 0 for pair in self.paddings), f"paddings {self.paddings}", "none negative")
        expected = tuple(size + sum(pair) for size, pair in zip(x.shape, self.paddings, strict=True))
        self.expect(output.shape == expected, f"an output of shape {list(output.shape)}", f"{list(expected)}")
        self.expect((x.dtype, x.quantization) == (output.dtype, output.quantization), "another type or quantisation",
                    "the input's")  # fmt: skip

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        return (np.pad(x, self.paddings, constant_values=only(outputs).zero_point),)


def _case(label: str, shape: tuple[int, ...], paddings: tuple[tuple[int, int], ...], zero_point: int = -7,
          dtype: DType = DType.INT8) -> Case:  # fmt: skip
    after = tuple(size + sum(pair) for size, pair in zip(shape, paddings, strict=True))

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(after)
        scale = scale_of(rng, 0.1)
        return [("x", quantized(shape, scale, zero_point, dtype), None)], quantized(after, scale, zero_point, dtype)

    return case(label, Pad(paddings), make)


CASES: tuple[Case, ...] = (
    _case("same", (1, 3, 4, 5), ((0, 0), (1, 1), (1, 1), (0, 0))),
    _case("bottom_right", (1, 4, 3, 8), ((0, 0), (0, 1), (0, 1), (0, 0)), -128),
    _case("wide", (1, 2, 1, 3), ((0, 0), (3, 0), (2, 4), (0, 0)), 127),
    _case("columns", (1, 3, 5, 4), ((0, 0), (0, 0), (2, 1), (0, 0))),
    _case("channels", (1, 2, 3, 4), ((0, 0), (0, 0), (0, 0), (2, 3))),
    _case("vector", (1, 5), ((0, 0), (1, 2)), 0),
    _case("nothing", (1, 2, 2, 3), ((0, 0), (0, 0), (0, 0), (0, 0))),
    _case("s16", (1, 2, 3, 2), ((0, 0), (1, 0), (0, 2), (1, 0)), 0, DType.INT16),
    _case("float", (1, 2, 3, 2), ((0, 0), (1, 0), (0, 2), (0, 0)), dtype=DType.FLOAT32),
)
