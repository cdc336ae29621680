"""Quantisation of float32, and requantisation of integers (docs/numerics.md, "Quantise and dequantise")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types, is_quantized
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier, round_half_away, wrap_int32
from midge.ops.windows import only

_INTEGERS = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32)


@dataclass(frozen=True, slots=True)
class Quantize(Op):
    """Operand x, float32 or a quantised integer (int8, uint8, int16, int32); the result is a quantised integer."""

    name: ClassVar[str] = "quantize"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(x.dtype is DType.FLOAT32 or is_quantized(x, *_INTEGERS), f"an input of type {x.dtype.value}",
                    "float32, or int8, uint8, int16 or int32 with one scale")  # fmt: skip
        self.expect(is_quantized(output, *_INTEGERS), f"an output of type {output.dtype.value}",
                    "int8, uint8, int16 or int32 with one scale")  # fmt: skip
        self.expect(output.shape == x.shape, f"an output of shape {list(output.shape)}", f"{list(x.shape)}")

    def requantization(self, x: TensorType, output: TensorType) -> tuple[int, int]:
        """Multiplier and shift (left positive) of the integer form, for DOUBLE rounding."""
        assert x.quantization is not None and output.quantization is not None
        return quantize_multiplier(x.quantization.scale / output.quantization.scale)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        output = only(outputs)
        assert x is not None and inputs[0] is not None and output.quantization is not None
        low, high = output.dtype.limits
        if inputs[0].dtype.is_float:
            rounded = round_half_away(x / np.float32(output.quantization.scale)).astype(np.float64)
            return (np.clip(rounded + output.zero_point, low, high).astype(output.dtype.numpy),)
        multiplier_q31, shift = self.requantization(inputs[0], output)
        centred = wrap_int32(x.astype(np.int64) - inputs[0].zero_point)
        scaled = multiply_by_quantized_multiplier(centred, multiplier_q31, shift, Rounding.DOUBLE)
        return (np.clip(wrap_int32(scaled + output.zero_point), low, high).astype(output.dtype.numpy),)


def _case(label: str, shape: tuple[int, ...], *, source: DType = DType.INT8, target: DType = DType.INT8,
          ratio: float = 0.8, zero_points: tuple[int, int] = (3, -5), same_scale: bool = False) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        scale = 0.02 if source is DType.FLOAT32 else scale_of(rng, 0.05)
        y_scale = scale if same_scale else scale_of(rng, scale * ratio)
        x = floats(shape) if source is DType.FLOAT32 else quantized(shape, scale, zero_points[0], source)
        return [("x", x, None)], quantized(shape, y_scale, zero_points[1], target)

    return case(label, Quantize(), make)


CASES: tuple[Case, ...] = (
    _case("float_c1", (1, 1), source=DType.FLOAT32),
    _case("float_row", (1, 9), source=DType.FLOAT32),
    _case("float_image", (1, 3, 5, 4), source=DType.FLOAT32, zero_points=(0, -128)),
    _case("float_zero_point_high", (1, 17), source=DType.FLOAT32, zero_points=(0, 127)),
    _case("float_uint8", (1, 8), source=DType.FLOAT32, target=DType.UINT8, zero_points=(0, 128)),
    _case("finer", (1, 2, 3, 8), ratio=0.3),
    _case("coarser", (1, 2, 3, 7), ratio=3.0),
    _case("zero_points_low", (1, 33), zero_points=(-128, -128)),
    _case("zero_points_high", (1, 33), zero_points=(127, 127)),
    _case("uint8_to_int8", (1, 4, 5, 3), source=DType.UINT8, zero_points=(128, 0), same_scale=True),
    _case("int8_to_uint8", (1, 9), target=DType.UINT8, zero_points=(-5, 123), same_scale=True),
    _case("uint8_to_int8_scaled", (1, 21), source=DType.UINT8, zero_points=(119, -3)),
    _case("float_int16", (1, 33), source=DType.FLOAT32, target=DType.INT16, ratio=1 / 256, zero_points=(0, 0)),
    _case("int8_to_int16", (1, 33), target=DType.INT16, ratio=1 / 200, zero_points=(4, 0)),
    _case("int16_to_int16", (1, 2, 3, 5), source=DType.INT16, target=DType.INT16, ratio=0.9, zero_points=(0, 0)),
    _case("int16_to_int32", (1, 2, 3, 5), source=DType.INT16, target=DType.INT32, ratio=0.01, zero_points=(0, 0)),
    _case("int32_to_int16", (1, 33), source=DType.INT32, target=DType.INT16, ratio=40000.0, zero_points=(0, 0)),
    _case("int16_to_int8", (1, 16), source=DType.INT16, ratio=200.0, zero_points=(0, 4)),
)
