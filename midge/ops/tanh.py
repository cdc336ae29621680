"""Tanh: tanh(x) (docs/numerics.md, "Logistic and tanh")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops import tables_s16
from midge.ops.base import Case, Op, Types
from midge.ops.unary import check_unary, int8_table, tabulated, unary_cases
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Tanh(Op):
    """Operand x, int8 (a table of 256 bytes; the result usually has scale 1/128 and zero point 0), int16 (the result
    has scale 1/32768) or float32."""

    name: ClassVar[str] = "tanh"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        x = check_unary(self, inputs, output)
        if x.dtype is DType.INT16:
            assert output.quantization is not None
            self.expect(output.quantization.scale == 1 / 32768, f"an output with scale {output.quantization.scale}",
                        "1 / 32768")  # fmt: skip

    def table(self, x: TensorType, output: TensorType) -> np.ndarray:
        """The 256 results of the int8 form, for the inputs -128 … 127."""
        return int8_table(self, x, output)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        if inputs[0].dtype.is_float:
            return (_tanh(x),)
        if inputs[0].dtype is DType.INT16:
            assert inputs[0].quantization is not None
            return (tables_s16.tanh(x, inputs[0].quantization.scale).astype(np.int16),)
        return (tabulated(_tanh, x, inputs[0], only(outputs)),)


def _tanh(x: np.ndarray) -> np.ndarray:
    return np.tanh(x.astype(np.float64)).astype(np.float32)


CASES: tuple[Case, ...] = unary_cases(Tanh, 1 / 128, 0)
