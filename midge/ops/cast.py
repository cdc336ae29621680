"""Numbers in another element type (docs/numerics.md, "Comparisons and choices")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case
from midge.ops.windows import only

_DTYPES = (DType.BOOL, DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32)


@dataclass(frozen=True, slots=True)
class Cast(Op):
    """Operand x: its numbers, not what they stand for, in the result's element type. Neither side has a scale."""

    name: ClassVar[str] = "cast"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(output.shape == x.shape, f"an output of shape {list(output.shape)}", f"{list(x.shape)}")
        for type_ in (x, output):
            self.expect(type_.dtype in _DTYPES, f"elements of type {type_.dtype.value}",
                        ", ".join(dtype.value for dtype in _DTYPES))  # fmt: skip
            self.expect(type_.quantization is None, "a quantised tensor", "numbers without a scale")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        dtype = only(outputs).dtype
        if x.dtype.kind != "f" or dtype in (DType.FLOAT32, DType.BOOL):
            return (x.astype(dtype.numpy),)
        low, high = dtype.limits
        whole = np.nan_to_num(np.trunc(x.astype(np.float64)), nan=0.0, posinf=np.inf, neginf=-np.inf)
        inside = np.clip(whole, low, np.nextafter(float(high), 0.0) if dtype is DType.INT64 else high)
        return (np.where(whole >= float(high), high, inside.astype(np.int64)).astype(dtype.numpy),)


def _case(source: DType, target: DType) -> Case:
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        del rng
        return [("x", TensorType(source, (1, 3, 4, 5)), None)], TensorType(target, (1, 3, 4, 5))

    return case(f"{source.value}_to_{target.value}", Cast(), make)


CASES: tuple[Case, ...] = tuple(
    _case(source, target)
    for source, target in (
        (DType.BOOL, DType.FLOAT32), (DType.BOOL, DType.INT32), (DType.FLOAT32, DType.BOOL),
        (DType.FLOAT32, DType.INT32), (DType.FLOAT32, DType.INT64), (DType.INT32, DType.BOOL),
        (DType.INT32, DType.FLOAT32), (DType.INT32, DType.INT64), (DType.INT64, DType.INT32), (DType.INT8, DType.INT32),
        (DType.UINT8, DType.FLOAT32), (DType.FLOAT32, DType.UINT8), (DType.UINT8, DType.INT32),
        (DType.INT16, DType.FLOAT32), (DType.FLOAT32, DType.INT16), (DType.INT32, DType.UINT8),
    )
)  # fmt: skip
