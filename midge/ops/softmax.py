"""Softmax over the last axis (docs/numerics.md, "Softmax")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops import tables_s16
from midge.ops.base import Case, Op, Rounding, Types, is_activation, is_quantized
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
_RESULTS = {
    DType.INT8: {DType.INT8: (256, -128), DType.INT16: (65536, -32768)}, DType.INT16: {DType.INT16: (32768, 0)},
}  # fmt: skip
"""For each element type of operands those of results: one over the scale, and the zero point."""


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
    """Operand x, float32; int16 (the result has scale 1/32768); or int8.

    The result of int8 is int8 with scale 1/256 and zero point -128, or int16 with scale 1/65536 and zero point -32768.
    """

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
        self.expect(is_activation(x) and is_quantized(output, *_RESULTS.get(x.dtype, ())),
                    f"types {x.dtype.value} and {output.dtype.value}",
                    "float32, int8 or int16 with one scale")  # fmt: skip
        assert output.quantization is not None
        parts, zero_point = _RESULTS[x.dtype][output.dtype]
        near = abs(output.quantization.scale * parts - 1.0) <= 0.001
        self.expect(near and output.zero_point == zero_point,
                    f"an output with scale {output.quantization.scale} and zero point {output.zero_point}",
                    f"1/{parts} and {zero_point}")  # fmt: skip
        self.expect(x.dtype is DType.INT16 or self._input_real(x) > 1.0, "an input scale near zero", "a larger one")

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
        if inputs[0].dtype is DType.INT16:
            return (self._evaluate_s16(x, inputs[0]),)
        return (self._evaluate_s8(x, self.parameters(inputs[0]), only(outputs).dtype),)

    def _evaluate_f32(self, x: np.ndarray) -> np.ndarray:
        powers = exp_f32((x - x.max(axis=-1, keepdims=True)) * np.float32(self.beta))
        total = np.cumsum(powers, axis=-1, dtype=np.float32)[..., -1:]
        return powers / total

    def distance_s16(self, x: TensorType) -> tuple[int, int]:
        """Multiplier and shift (left positive) by which int16 differences from the maximum reach `exp_table_s16`."""
        assert x.quantization is not None
        return quantize_multiplier(x.quantization.scale * self.beta / (10.0 / 65535.0))

    def _evaluate_s16(self, x: np.ndarray, x_type: TensorType) -> np.ndarray:
        diff = x.astype(np.int64) - x.max(axis=-1, keepdims=True)
        scaled = multiply_by_quantized_multiplier(diff, *self.distance_s16(x_type), Rounding.DOUBLE)
        powers_q15 = tables_s16.looked_up(np.clip(scaled + 32767, -32768, 32767), exp_table_s16())
        total = powers_q15.sum(axis=-1, keepdims=True)
        headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
        mantissa = ((total << (headroom - 1)) + (1 << 13)) >> 14
        place = np.clip(mantissa - (1 << 15) - (1 << 16), -32768, 32767)
        reciprocal_q15 = tables_s16.looked_up(place, reciprocal_table_s16())
        shift = 31 - headroom
        y = (powers_q15 * reciprocal_q15 + (np.int64(1) << (shift - 1))) >> shift
        return np.clip(y, 0, 32767).astype(np.int16)

    def _evaluate_s8(self, x: np.ndarray, parameters: SoftmaxParameters, dtype: DType) -> np.ndarray:
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
        low, high = dtype.limits
        y = rounding_divide_by_pot(y, bits_over_unit + 31 - 8 * dtype.bytes) + low
        return np.where(counts, np.clip(y, low, high), low).astype(dtype.numpy)


@cache
def exp_table_s16() -> np.ndarray:
    """exp from -10 to 0, for `tables_s16.looked_up`; Q0.15."""
    return tables_s16.sampled_table(exp_f32, 10.0 / 65535.0, 32767, 2.0 / 65535.0)


@cache
def reciprocal_table_s16() -> np.ndarray:
    """1 / (1 + x) from 0 to 1, for `tables_s16.looked_up`; Q0.15."""
    return tables_s16.sampled_table(lambda x: np.float32(1) / (np.float32(1) + x), 1.0 / 65535.0, -32768, 2.0 / 65535.0)


def _case(label: str, shape: tuple[int, ...], *, beta: float = 1.0, scale: float = 0.1, zero_point: int = 5,
          wide_result: bool = False, dtype: DType = DType.INT8) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(shape)
        if wide_result:
            x = quantized(shape, scale_of(rng, scale), zero_point)
            return [("x", x, None)], quantized(shape, 1 / 65536, -32768, DType.INT16)
        if dtype is DType.INT16:
            x = quantized(shape, scale_of(rng, scale / 256), 0, dtype)
            return [("x", x, None)], quantized(shape, 1 / 32768, 0, dtype)
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
    _case("s8_to_s16", (1, 9), wide_result=True),
    _case("s8_to_s16_rows", (1, 3, 65), wide_result=True, scale=0.02),
    *(_case(f"s16_c{c}", (1, c), dtype=DType.INT16) for c in (1, 2, 10)),
    _case("s16_rows_beta", (1, 4, 7), beta=0.5, dtype=DType.INT16),
    _case("s16_large_scale", (1, 2, 3, 65), scale=1.5, dtype=DType.INT16),
    _case("float", (1, 12), dtype=DType.FLOAT32),
    _case("float_rows_beta", (1, 3, 7), beta=2.0, dtype=DType.FLOAT32),
)  # fmt: skip
