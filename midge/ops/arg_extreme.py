"""Where along an axis the largest or smallest value lies (docs/numerics.md, "Reductions")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.mean import reduced_shape
from midge.ops.windows import only

INDICES = (DType.INT32, DType.INT64)
"""Element types of the result."""


@dataclass(frozen=True, slots=True)
class ArgExtreme(Op):
    """Operand x of any type; the result (int32 or int64) counts along `axis`, and the first of equal values wins."""

    name: ClassVar[str] = "arg_extreme"
    largest: bool
    axis: int
    keep_dims: bool

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(0 <= self.axis < len(x.shape), f"axis {self.axis} of rank {len(x.shape)}", "an axis of the input")
        self.expect(output.dtype in INDICES, f"a result of type {output.dtype.value}", "int32 or int64")
        shape = reduced_shape(x.shape, (self.axis,), self.keep_dims)
        self.expect(output.shape == shape, f"an output of shape {list(output.shape)}", f"{list(shape)}")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        output = only(outputs)
        found = np.argmax(x, self.axis) if self.largest else np.argmin(x, self.axis)
        return (np.asarray(found, output.dtype.numpy).reshape(output.shape),)


def _case(label: str, shape: tuple[int, ...], axis: int, *, largest: bool = True, keep_dims: bool = False,
          dtype: DType = DType.INT8, result: DType = DType.INT32) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        x = quantized(shape, scale_of(rng, 0.05), 3) if dtype is DType.INT8 else floats(shape)
        x = x if dtype in (DType.INT8, DType.FLOAT32) else TensorType(dtype, shape)
        return [("x", x, None)], TensorType(result, reduced_shape(shape, (axis,), keep_dims))

    return case(label, ArgExtreme(largest, axis, keep_dims), make)


CASES: tuple[Case, ...] = (
    _case("vector", (1, 9), 1),
    _case("vector_min", (1, 9), 1, largest=False),
    _case("scalar", (1,), 0, largest=False),
    _case("equal", (1, 700), 1),
    _case("channels", (1, 4, 3, 5), 3),
    _case("channels_keep", (1, 4, 3, 7), 3, keep_dims=True),
    _case("columns", (1, 4, 3, 5), 2),
    _case("columns_keep", (1, 4, 3, 5), 2, largest=False, keep_dims=True),
    _case("rows", (1, 4, 3, 5), 1),
    _case("rows_keep", (1, 4, 3, 5), 1, keep_dims=True),
    _case("rows_of_five", (1, 3, 2, 2, 5), 1),
    _case("first_axis", (3, 4, 5), 0),
    _case("to_rows", (4, 1, 5, 3), 0),
    _case("float", (1, 4, 3, 5), 3, dtype=DType.FLOAT32),
    _case("float_min", (1, 17), 1, largest=False, dtype=DType.FLOAT32),
    _case("integers", (1, 4, 9), 2, dtype=DType.INT32),
    _case("long_index", (1, 4, 9), 2, result=DType.INT64),
)
