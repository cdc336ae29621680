"""Sums of all values so far (docs/numerics.md, "Reductions")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case
from midge.ops.windows import only

_DTYPES = (DType.FLOAT32, DType.INT32)


@dataclass(frozen=True, slots=True)
class Cumsum(Op):
    """Operand x, float32 or int32 (which wraps): each value is the sum of those up to it along `axis`.

    `exclusive`: without itself, so the first one is 0.
    """

    name: ClassVar[str] = "cumsum"
    axis: int
    exclusive: bool

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(output == x, f"a result {output}", f"{x}")
        self.expect(0 <= self.axis < len(x.shape), f"axis {self.axis} of rank {len(x.shape)}", "an axis of the input")
        self.expect(x.dtype in _DTYPES, f"elements of type {x.dtype.value}", "float32 or int32")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        sums = np.cumsum(x, self.axis, dtype=x.dtype)
        if not self.exclusive:
            return (sums,)
        first = np.zeros_like(np.take(sums, [0], self.axis))
        return (np.concatenate([first, np.delete(sums, -1, self.axis)], self.axis),)


def _case(label: str, shape: tuple[int, ...], axis: int, *, exclusive: bool = False, dtype: DType = DType.FLOAT32
          ) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        del rng
        return [("x", TensorType(dtype, shape), None)], TensorType(dtype, shape)

    return case(label, Cumsum(axis, exclusive), make)


CASES: tuple[Case, ...] = (
    _case("vector", (1, 9), 1),
    _case("vector_exclusive", (1, 9), 1, exclusive=True),
    _case("channels", (1, 3, 4, 5), 3),
    _case("columns", (1, 3, 4, 5), 2),
    _case("rows", (1, 5, 4, 3), 1),
    _case("rows_exclusive", (1, 5, 4, 3), 1, exclusive=True),
    _case("batch", (1, 3, 4), 0),
    _case("batches", (3, 4, 5), 0, exclusive=True),
    _case("middle", (2, 3, 4, 5), 1),
    _case("integers", (1, 6, 5), 1, dtype=DType.INT32),
    _case("integers_exclusive", (1, 6, 5), 2, exclusive=True, dtype=DType.INT32),
)
