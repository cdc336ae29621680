"""Softmax over the last axis (docs/numerics.md, "Softmax")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types, is_quantized
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import (
    exp_f32,
    exp_on_negative_values,
    multiply_by_quantized_multiplier,
    one_over_one_plus_x,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from midge.ops.windows import only

_INTEGER_BITS = 5


@dataclass(frozen=True, slots=True)
class SoftmaxParameters:
    """Integers of the quantised form: differences from the maximum become Q5.26 by the multiplier and left shift.

    Differences below `diff_min` count as minus infinity.
    """

    input_multiplier_q31: int
    input_left_shift: int
    diff_min: int


@dataclass(frozen=True, slots=True)
class Softmax(Op):
    """Operand x, int8 (the result int8 with scale 1/256 and zero point -128) or float32."""

    name: ClassVar[str] = "softmax"
    beta: float

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(len(x.shape) >= 1 and output.shape == x.shape, f"shapes {list(x.shape)} and {list(output.shape)}",
                    "the result to have the input's shape")  # fmt: skip
        self.expect(math.isfinite(self.beta) and self.beta > 0, f"beta {self.beta}", "a positive number")
        if x.dtype is DType.FLOAT32:
            self.expect(output.dtype is DType.FLOAT32, f"an output of type {output.dtype.value}", "float32")
            return
        self.expect(is_quantized(x) and is_quantized(output), f"types {x.dtype.value} and {output.dtype.value}",
                    "float32 or quantised int8")  # fmt: skip
        assert output.quantization is not None
        near = abs(output.quantization.scale * 256.0 - 1.0) <= 0.001
        self.expect(near and output.zero_point == -128,
                    f"an output with scale {output.quantization.scale} and zero point {output.zero_point}",
                    "1/256 and -128")  # fmt: skip
        self.expect(self._input_real(x) > 1.0, "an input scale near zero", "a larger one")

    def _input_real(self, x: TensorType) -> float:
        assert x.quantization is not None
        return min(self.beta * x.quantization.scale * (1 << (31 - _INTEGER_BITS)), 2.0**31 - 1.0)

    def parameters(self, x: TensorType) -> SoftmaxParameters:
        """The integers of the quantised form."""
        multiplier_q31, shift = quantize_multiplier(self._input_real(x))
        radius = math.floor(((1 << _INTEGER_BITS) - 1) * (1 << (31 - _INTEGER_BITS)) / (1 << shift))
        return SoftmaxParameters(multiplier_q31, shift, -radius)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        if inputs[0].dtype is DType.FLOAT32:
            return (self._evaluate_f32(x),)
        return (self._evaluate_s8(x, self.parameters(inputs[0])),)

    def _evaluate_f32(self, x: np.ndarray) -> np.ndarray:
        powers = exp_f32((x - x.max(axis=-1, keepdims=True)) * np.float32(self.beta))
        total = np.cumsum(powers, axis=-1, dtype=np.float32)[..., -1:]
        return powers / total

    def _evaluate_s8(self, x: np.ndarray, parameters: SoftmaxParameters) -> np.ndarray:
        diff = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
        counts = diff >= parameters.diff_min
        scaled = multiply_by_quantized_multiplier(
            np.where(counts, diff, 0), parameters.input_multiplier_q31, parameters.input_left_shift, Rounding.DOUBLE
        )
        powers_q31 = np.where(counts, exp_on_negative_values(scaled), 0)
        total_q19 = rounding_divide_by_pot(powers_q31, 12).sum(axis=-1, keepdims=True)
        headroom = 32 - np.frexp(total_q19.astype(np.float64))[1].astype(np.int64)
        reciprocal_q31 = one_over_one_plus_x((total_q19 << headroom) - 2**31)
        bits_over_unit = 12 - headroom
        y = saturating_rounding_doubling_high_mul(reciprocal_q31, powers_q31)
        y = rounding_divide_by_pot(y, bits_over_unit + 31 - 8) - 128
        return np.where(counts, np.clip(y, -128, 127), -128).astype(np.int8)


def _case(label: str, shape: tuple[int, ...], *, beta: float = 1.0, scale: float = 0.1, zero_point: int = 5,
          dtype: DType = DType.INT8) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(shape)
        return [("x", quantized(shape, scale_of(rng, scale), zero_point), None)], quantized(shape, 1 / 256, -128)

    return case(label, Softmax(beta), make)


CASES: tuple[Case, ...] = (
    *(_case(f"c{c}", (1, c)) for c in (1, 2, 3, 10, 12)),
    _case("many_small_scale", (1, 65), scale=0.005),
    _case("large_scale", (1, 9), scale=1.5),
    _case("tiny_scale", (1, 7), scale=0.0001),
    _case("beta", (1, 9), beta=0.5),
    _case("rows", (1, 4, 5), zero_point=-128),
    _case("image", (1, 2, 3, 4), zero_point=127),
    _case("float", (1, 12), dtype=DType.FLOAT32),
    _case("float_rows_beta", (1, 3, 7), beta=2.0, dtype=DType.FLOAT32),
)  # fmt: skip
