"""The rectifier with a slope below zero (docs/numerics.md, "Leaky rectifier")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from midge.ops.unary import check_unary
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class LeakyRelu(Op):
    """Operand x, int8 with scales of their own on both sides, or float32: x, or `alpha` x where x is negative."""

    name: ClassVar[str] = "leaky_relu"
    alpha: float

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        check_unary(self, inputs, only(outputs))
        self.expect(bool(np.isfinite(self.alpha)), f"the slope {self.alpha}", "a finite number")

    def multipliers(self, x: TensorType, output: TensorType) -> tuple[tuple[int, int], tuple[int, int]]:
        """Q31 multipliers and shifts (left positive) for x >= 0 and for x < 0; DOUBLE rounding."""
        assert x.quantization is not None and output.quantization is not None
        before, after = np.float32(x.quantization.scale), np.float32(output.quantization.scale)
        below = before * np.float32(self.alpha) / after
        # The multiplier of a negative slope is that of its magnitude with the sign put back.
        multiplier_q31, shift = quantize_multiplier(abs(float(below)))
        signed = -multiplier_q31 if below < 0 else multiplier_q31
        return quantize_multiplier(float(before / after)), (signed, shift)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        output = only(outputs)
        if output.dtype.is_float:
            return (np.where(x > 0, x, x * np.float32(self.alpha)),)
        above, below = self.multipliers(inputs[0], output)
        centred = x.astype(np.int64) - inputs[0].zero_point
        scaled = np.where(
            centred >= 0,
            multiply_by_quantized_multiplier(centred, *above, Rounding.DOUBLE),
            multiply_by_quantized_multiplier(centred, *below, Rounding.DOUBLE),
        )
        return (np.clip(scaled + output.zero_point, *output.dtype.limits).astype(output.dtype.numpy),)


def _case(label: str, shape: tuple[int, ...], alpha: float, *, zero_points: tuple[int, int] = (-3, -40),
          dtype: DType = DType.INT8) -> Case:  # fmt: skip
    slope = float(np.float32(alpha))

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(shape)
        scale = scale_of(rng, 0.08)
        x = quantized(shape, scale, zero_points[0], dtype)
        return [("x", x, None)], quantized(shape, scale_of(rng, scale * 0.8), zero_points[1], dtype)

    return case(label, LeakyRelu(slope), make)


CASES: tuple[Case, ...] = (
    _case("image", (1, 3, 8, 11), 0.3),
    _case("vector", (1, 9), 0.01, zero_points=(127, 0)),
    _case("low", (1, 2, 8, 7), 0.2, zero_points=(-128, -128)),
    _case("steep", (1, 256), 1.5, zero_points=(0, 5)),
    _case("downwards", (1, 256), -0.25, zero_points=(0, 5)),
    _case("s16", (1, 3, 8, 11), 0.3, zero_points=(0, 0), dtype=DType.INT16),
    _case("s16_downwards", (1, 33), -0.25, zero_points=(0, 0), dtype=DType.INT16),
    _case("float", (1, 2, 3, 5), 0.3, dtype=DType.FLOAT32),
    _case("float_vector", (1, 7), 0.01, dtype=DType.FLOAT32),
)
