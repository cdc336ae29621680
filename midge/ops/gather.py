"""Parts of a tensor by indices that vary (docs/numerics.md, "Data movement")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only

INDICES = (DType.INT32, DType.INT64)


@dataclass(frozen=True, slots=True)
class Gather(Op):
    """Operands x of any element type and indices (int32 or int64) along `axis`; indices outside of it are clamped.

    The result's shape is x's with the axis replaced by the indices' shape. For constant indices: `take`.
    """

    name: ClassVar[str] = "gather"
    axis: int

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 2 and None not in inputs, f"{len(inputs)} operands", "two")
        x, indices = inputs
        assert x is not None and indices is not None
        self.expect(0 <= self.axis < len(x.shape), f"axis {self.axis} of rank {len(x.shape)}", "an axis of the operand")
        self.expect(indices.dtype in INDICES, f"indices of type {indices.dtype.value}", "int32 or int64")
        shape = (*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :])
        self.expect(output.shape == shape, f"an output of shape {list(output.shape)}", f"{list(shape)}")
        self.expect((x.dtype, x.quantization) == (output.dtype, output.quantization), "another type or quantisation",
                    "the operand's")  # fmt: skip
        self.expect(x.quantization is None or x.quantization.axis is None, "a scale for each channel", "one")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, indices = arrays
        assert x is not None and indices is not None
        return (np.take(x, indices, self.axis, mode="clip"),)


def _case(label: str, source: tuple[int, ...], indices: tuple[int, ...], axis: int, *, is_table: bool = True,
          dtype: DType = DType.INT8, index: DType = DType.INT32) -> Case:  # fmt: skip
    """Random indices are mostly outside of x."""
    shape = (*source[:axis], *indices, *source[axis + 1 :])

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        scale = scale_of(rng, 0.1)
        types = [quantized(size, scale, -7) if dtype is DType.INT8 else floats(size) for size in (source, shape)]
        data = (rng.standard_normal(source) * 50).astype(dtype.numpy) if is_table else None
        return [("x", types[0], data), ("indices", TensorType(index, indices), None)], types[1]

    return case(label, Gather(axis), make)


CASES: tuple[Case, ...] = (
    _case("embedding", (20, 8), (1, 6), 0),
    _case("one", (20, 8), (1,), 0),
    _case("scalar", (20, 8), (), 0),
    _case("long_indices", (20, 8), (1, 6), 0, index=DType.INT64),
    _case("matrices", (9, 4, 3), (1, 5), 0),
    _case("rows", (1, 7, 3, 2), (5,), 1, is_table=False),
    _case("columns", (1, 4, 7, 2), (3,), 2, is_table=False),
    _case("channels", (1, 4, 3, 6), (2, 2), 3, is_table=False),
    _case("first_of_vector", (1, 9), (), 1, is_table=False),
    _case("float", (20, 8), (1, 6), 0, dtype=DType.FLOAT32),
    _case("float_rows", (1, 7, 3), (1, 5), 1, is_table=False, dtype=DType.FLOAT32),
)
