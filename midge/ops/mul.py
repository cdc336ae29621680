"""Multiplication with broadcasting (docs/numerics.md, "Multiplication")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import TensorType
from midge.ops.base import Activation, Case, Op, Rounding, Types
from midge.ops.elementwise import check_elementwise, elementwise_cases
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from midge.ops.windows import clamp, only


@dataclass(frozen=True, slots=True)
class Mul(Op):
    """Operands a, b, int8 (own scales) or float32, either may be constant; the result is a * b, broadcast."""

    name: ClassVar[str] = "mul"
    activation: Activation

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        check_elementwise(self, inputs, only(outputs))

    def requantization(self, a: TensorType, b: TensorType, output: TensorType) -> tuple[int, int]:
        """Multiplier and shift (left positive) of the product, for DOUBLE rounding; scales in float32 arithmetic."""
        assert a.quantization is not None and b.quantization is not None and output.quantization is not None
        real = (
            np.float32(a.quantization.scale) * np.float32(b.quantization.scale) / np.float32(output.quantization.scale)
        )
        return quantize_multiplier(float(real))

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        a, b = arrays
        assert a is not None and b is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        if output.dtype.is_float:
            return (clamp(a * b, self.activation, output),)
        product = (a.astype(np.int64) - inputs[0].zero_point) * (b.astype(np.int64) - inputs[1].zero_point)
        multiplier_q31, shift = self.requantization(inputs[0], inputs[1], output)
        scaled = multiply_by_quantized_multiplier(product, multiplier_q31, shift, Rounding.DOUBLE)
        return (clamp(scaled + output.zero_point, self.activation, output),)


CASES: tuple[Case, ...] = elementwise_cases(Mul, lambda a, b: 90.0 * a * b)
