"""Logistic: 1/(1+exp(-x)) (docs/numerics.md, "Logistic and tanh")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops import tables_s16
from midge.ops.base import Case, Op, Types
from midge.ops.fixed_point import exp_f32
from midge.ops.unary import check_unary, int8_table, tabulated, unary_cases
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Logistic(Op):
    """Operand x, int8 (a table of 256 bytes; the result has scale 1 / 256 and zero point -128), int16 (the result has
    scale 1 / 32768) or float32."""

    name: ClassVar[str] = "logistic"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        x = check_unary(self, inputs, output)
        if x.dtype.is_float:
            return
        assert output.quantization is not None
        wanted = (1 / 256, -128) if x.dtype is DType.INT8 else (1 / 32768, 0)
        self.expect((output.quantization.scale, output.zero_point) == wanted,
                    f"an output with scale {output.quantization.scale} and zero point {output.zero_point}",
                    f"{wanted[0]} and {wanted[1]}")  # fmt: skip

    def table(self, x: TensorType, output: TensorType) -> np.ndarray:
        """The 256 results of the int8 form, for the inputs -128 … 127."""
        return int8_table(self, x, output)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        if inputs[0].dtype.is_float:
            return (_logistic(x),)
        if inputs[0].dtype is DType.INT16:
            assert inputs[0].quantization is not None
            return (tables_s16.logistic(x, inputs[0].quantization.scale).astype(np.int16),)
        return (tabulated(_logistic, x, inputs[0], only(outputs)),)


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.float32(1.0) / (np.float32(1.0) + exp_f32(-x))


CASES: tuple[Case, ...] = unary_cases(Logistic, 1 / 256, -128)
