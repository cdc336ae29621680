"""Sums, largest and smallest values over axes (docs/numerics.md, "Reductions")."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.mean import checked_reduction, reduced_shape
from midge.ops.windows import only


class Function(enum.Enum):
    """What is made of all values."""

    MAX = "max"
    MIN = "min"
    PROD = "prod"
    SUM = "sum"


_OF_BYTES = (Function.MAX, Function.MIN)


@dataclass(frozen=True, slots=True)
class Reduce(Op):
    """Operand x, float32, or int8 with the result's scale and zero point for max and min; axes ascending."""

    name: ClassVar[str] = "reduce"
    function: Function
    axes: tuple[int, ...]
    keep_dims: bool

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        x, output = checked_reduction(self, self.axes, self.keep_dims, inputs, outputs)
        self.expect((x.dtype, x.quantization) == (output.dtype, output.quantization), "another type or scale",
                    "the input's")  # fmt: skip
        fits = x.dtype is DType.FLOAT32 or (x.dtype is DType.INT8 and self.function in _OF_BYTES)
        self.expect(fits, f"{self.function.value} of {x.dtype.value}", "float32")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        output = only(outputs)
        kept = tuple(axis for axis in range(x.ndim) if axis not in self.axes)
        flat = x.transpose(*self.axes, *kept).reshape(-1, *(x.shape[axis] for axis in kept))
        if self.function is Function.MAX:
            result = flat.max(axis=0)
        elif self.function is Function.MIN:
            result = flat.min(axis=0)
        else:  # one after the other, each step rounded to float32
            steps = np.cumsum if self.function is Function.SUM else np.cumprod
            result = steps(flat, axis=0, dtype=np.float32)[-1]
        return (np.asarray(result, x.dtype).reshape(output.shape),)


def _case(label: str, function: Function, shape: tuple[int, ...], axes: tuple[int, ...], *, keep_dims: bool = False,
          dtype: DType = DType.FLOAT32) -> Case:  # fmt: skip
    after = reduced_shape(shape, axes, keep_dims)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(after)
        scale = scale_of(rng, 0.05)
        return [("x", quantized(shape, scale, 3), None)], quantized(after, scale, 3)

    return case(label, Reduce(function, axes, keep_dims), make)


CASES: tuple[Case, ...] = (
    *(_case(f"{function.value}_image", function, (1, 3, 4, 5), (1, 2)) for function in Function),
    _case("max_s8_channels", Function.MAX, (1, 3, 2, 9), (3,), keep_dims=True, dtype=DType.INT8),
    _case("min_s8_image", Function.MIN, (1, 3, 4, 5), (1, 2), dtype=DType.INT8),
    _case("max_s8_rows", Function.MAX, (1, 5, 3, 4), (1,), dtype=DType.INT8),
    _case("sum_columns", Function.SUM, (1, 3, 5, 4), (2,), keep_dims=True),
    _case("sum_vector", Function.SUM, (1, 17), (1,)),
)
