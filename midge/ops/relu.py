"""Stand-alone rectifiers RELU, RELU6 and RELU_N1_TO_1 (docs/numerics.md, "Rectifiers")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Rounding, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from midge.ops.unary import check_unary, int8_table
from midge.ops.windows import clamp, only


@dataclass(frozen=True, slots=True)
class Relu(Op):
    """Operand x, int8 (requantised to the result's scale and zero point) or float32."""

    name: ClassVar[str] = "relu"
    activation: Activation

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        check_unary(self, inputs, only(outputs))
        self.expect(self.activation is not Activation.NONE, "no activation", "relu, relu6 or relu_n1_to_1")

    def requantization(self, x: TensorType, output: TensorType) -> tuple[int, int]:
        """Multiplier and shift (left positive), for DOUBLE rounding; the scales are divided in float32."""
        assert x.quantization is not None and output.quantization is not None
        return quantize_multiplier(float(np.float32(x.quantization.scale) / np.float32(output.quantization.scale)))

    def table(self, x: TensorType, output: TensorType) -> np.ndarray:
        """The 256 results of the int8 form, for the inputs -128 … 127."""
        return int8_table(self, x, output)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        output = only(outputs)
        if output.dtype.is_float:
            return (clamp(x, self.activation, output),)
        multiplier_q31, shift = self.requantization(inputs[0], output)
        centred = x.astype(np.int64) - inputs[0].zero_point
        scaled = multiply_by_quantized_multiplier(centred, multiplier_q31, shift, Rounding.DOUBLE)
        return (clamp(scaled + output.zero_point, self.activation, output),)


def _case(label: str, shape: tuple[int, ...], activation: Activation, *, same: bool = False,
          zero_points: tuple[int, int] = (-3, -128), dtype: DType = DType.INT8) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(shape)
        scale = scale_of(rng, 0.08)
        finer = 256 if dtype is DType.INT16 else 1
        x = quantized(shape, scale / finer, zero_points[0], dtype)
        y = quantized(shape, scale_of(rng, scale * 0.7) / finer, zero_points[1], dtype)
        return [("x", x, None)], x if same else y

    return case(label, Relu(activation), make)


CASES: tuple[Case, ...] = (
    _case("relu", (1, 3, 4, 5), Activation.RELU),
    _case("relu_same", (1, 3, 4, 8), Activation.RELU, same=True),
    _case("relu_vector", (1, 9), Activation.RELU, zero_points=(127, 0)),
    _case("relu6", (1, 2, 8, 7), Activation.RELU6),
    _case("relu6_low", (1, 2, 8, 7), Activation.RELU6, zero_points=(-128, -128)),
    _case("relu_n1_to_1", (1, 33), Activation.RELU_N1_TO_1, zero_points=(5, 7)),
    _case("s16_relu", (1, 3, 4, 5), Activation.RELU, zero_points=(0, 0), dtype=DType.INT16),
    _case("s16_relu6_same", (1, 3, 7), Activation.RELU6, zero_points=(0, 0), same=True, dtype=DType.INT16),
    _case("float_relu", (1, 2, 3, 5), Activation.RELU, dtype=DType.FLOAT32),
    _case("float_relu6", (1, 2, 3, 5), Activation.RELU6, dtype=DType.FLOAT32),
    _case("float_relu_n1_to_1", (1, 7), Activation.RELU_N1_TO_1, dtype=DType.FLOAT32),
)
