"""Fully connected layer (docs/numerics.md, "Fully connected")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Rounding, Types, quantized_bounds
from midge.ops.cases import case, offset_weights, weighted_operands
from midge.ops.fixed_point import (
    INT32_MAX,
    multiply_by_quantized_multiplier,
    multiply_by_real,
    quantize_multipliers,
    single_rounding_multiplier,
    wrap_int32,
)
from midge.ops.windows import check_rounding, check_weighted, clamp, effective_scales, only


@dataclass(frozen=True, slots=True)
class FullyConnected(Op):
    """Operands x [..., I], weights [O,I], bias [O] or None; one row of the result for each I values of x.

    With `keep_dims` the result has the shape of x but for the last dimension, else [rows, O]. int8 or int16
    activations with int8 weights (one scale, or one for each output) and a bias of int32, with int16 also of int64; or
    all float32.
    """

    name: ClassVar[str] = "fully_connected"
    activation: Activation
    rounding: Rounding
    keep_dims: bool

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        x, weights = check_weighted(self, inputs, output, channel_axis=0)
        self.expect(len(weights.shape) == 2, f"weights of shape {list(weights.shape)}", "[out, in]")
        self.expect(x.elements % weights.shape[1] == 0, f"an input of shape {list(x.shape)}",
                    f"a multiple of {weights.shape[1]} values")  # fmt: skip
        if self.keep_dims:
            self.expect(x.shape[-1:] == weights.shape[1:], f"an input of shape {list(x.shape)}",
                        f"{weights.shape[1]} values in the last dimension")  # fmt: skip
            expected = (*x.shape[:-1], weights.shape[0])
        else:
            expected = (x.elements // weights.shape[1], weights.shape[0])
        self.expect(output.shape == expected, f"an output of shape {list(output.shape)}", f"{list(expected)}")
        if self.rounding is not Rounding.SINGLE:
            check_rounding(self, inputs, self.rounding)

    def requantization(self, x: TensorType, weights: TensorType, output: TensorType,
                       reaches: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """int32 multipliers and shifts (left positive), one for each output.

        For int8 and SINGLE rounding they are proven: `(acc * multiplier + 2^(30 - shift)) >> (31 - shift)`, clamped,
        equals the float64 definition for every 32-bit accumulator; or for those up to `reaches` in magnitude, one
        number for each output. int16 has too many steps for that, and no such form. Raises UnsupportedError where no
        multiplier does (only for scales below 2^-15, or so).
        """
        channels = weights.shape[0]
        assert x.quantization is not None and weights.quantization is not None and output.quantization is not None
        if self.rounding is not Rounding.SINGLE:
            if weights.quantization.axis is not None:
                return quantize_multipliers(effective_scales(x, weights, output, channels))
            # TensorFlow Lite Micro multiplies the first two scales in float32 here.
            product = np.float32(x.quantization.scale) * np.float32(weights.quantization.scale)
            return quantize_multipliers([float(product) / output.quantization.scale] * channels)
        low, high = quantized_bounds(self.activation, output)
        lowest, highest = low - output.zero_point, high - output.zero_point
        reals = effective_scales(x, weights, output, channels)
        # Powers of two, so that outputs with one scale share one proof.
        limits = [INT32_MAX] * channels
        if reaches is not None:
            limits = [min(1 << int(reach).bit_length(), INT32_MAX) for reach in reaches]
        pairs = [single_rounding_multiplier(real, lowest, highest, limit)
                 for real, limit in zip(reals, limits, strict=True)]  # fmt: skip
        return np.array([pair[0] for pair in pairs], np.int32), np.array([pair[1] for pair in pairs], np.int32)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, weights, bias = arrays
        assert x is not None and weights is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        rows = x.reshape(-1, weights.shape[1])
        if inputs[0].dtype is DType.FLOAT32:
            acc = _multiply_f32(rows, weights)
            return (clamp(acc if bias is None else acc + bias, self.activation, output).reshape(output.shape),)
        acc = (rows.astype(np.float64) - inputs[0].zero_point) @ weights.T.astype(np.float64)
        acc = acc.astype(np.int64) if bias is None else acc.astype(np.int64) + bias
        if bias is not None and bias.dtype == np.int32:
            acc = wrap_int32(acc)
        if self.rounding is Rounding.SINGLE:
            scaled = multiply_by_real(acc, np.array(effective_scales(inputs[0], inputs[1], output, len(weights))))
        else:
            multipliers, shifts = self.requantization(inputs[0], inputs[1], output)
            scaled = multiply_by_quantized_multiplier(acc, multipliers, shifts, self.rounding)
        return (clamp(scaled + output.zero_point, self.activation, output).reshape(output.shape),)

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        assert inputs[1] is not None
        return only(outputs).elements * inputs[1].shape[1]


def _multiply_f32(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of products in float32, in the order of the inputs."""
    acc = np.zeros((len(rows), len(weights)), np.float32)
    columns = np.ascontiguousarray(weights.T)
    for index in range(weights.shape[1]):
        acc += rows[:, index, None] * columns[index]
    return acc


def _case(label: str, inputs: int, outputs: int, *, batch: tuple[int, ...] = (1,),
          activation: Activation = Activation.NONE, rounding: Rounding = Rounding.SINGLE, keep_dims: bool = False,
          zero_points: tuple[int, int] = (3, -5), per_channel: bool = False, bias: bool = True,
          dtype: DType = DType.INT8, bias_dtype: DType = DType.INT32) -> Case:  # fmt: skip
    op = FullyConnected(activation, rounding, keep_dims)
    y_shape = (*batch, outputs) if keep_dims else (int(np.prod(batch)), outputs)
    return case(label, op, lambda rng: weighted_operands(
        rng, (*batch, inputs), (outputs, inputs), y_shape, channels=outputs, channel_axis=0, fan_in=inputs,
        zero_points=(0, 0) if dtype is DType.INT16 else zero_points, per_channel=per_channel, bias=bias, dtype=dtype,
        bias_dtype=bias_dtype))  # fmt: skip


_OFFSET = (
    _case("i33_o5", 33, 5),
    _case("relu_double", 16, 9, activation=Activation.RELU, zero_points=(-128, -128), rounding=Rounding.DOUBLE),
    _case("rows", 8, 5, batch=(3,)),
)
CASES: tuple[Case, ...] = (
    *(_case(f"i{i}_o{o}", i, o)
      for i, o in ((1, 1), (3, 4), (4, 3), (7, 8), (8, 9), (9, 7), (16, 2), (33, 5), (64, 12), (70, 21), (1560, 2))),
    *(_case(f"double_i{i}_o{o}", i, o, rounding=Rounding.DOUBLE) for i, o in ((1, 3), (8, 8), (9, 5), (31, 4))),
    _case("relu", 16, 9, activation=Activation.RELU, zero_points=(-128, -128)),
    _case("relu_double", 16, 9, activation=Activation.RELU, zero_points=(-128, -128), rounding=Rounding.DOUBLE),
    _case("relu6", 12, 8, activation=Activation.RELU6, zero_points=(-128, -128)),
    _case("relu_n1_to_1", 12, 8, activation=Activation.RELU_N1_TO_1, zero_points=(0, 0)),
    _case("zero_points_high", 8, 8, zero_points=(127, 127)),
    _case("zero_points_low", 8, 8, zero_points=(-128, 127)),
    _case("per_channel", 15, 9, per_channel=True),
    _case("per_channel_double", 15, 9, per_channel=True, rounding=Rounding.DOUBLE),
    _case("no_bias", 10, 6, bias=False),
    _case("rows", 8, 5, batch=(3,)),
    _case("rows_keep_dims", 8, 5, batch=(1, 2), keep_dims=True),
    _case("image_keep_dims", 7, 5, batch=(1, 4, 3), keep_dims=True, zero_points=(-20, 90)),
    _case("image_flattened", 4, 6, batch=(1, 1, 1)),
    _case("s16", 33, 7, dtype=DType.INT16, bias_dtype=DType.INT64),
    _case("s16_per_channel_relu", 9, 8, per_channel=True, activation=Activation.RELU, dtype=DType.INT16,
          bias_dtype=DType.INT64),
    _case("s16_long", 700, 3, dtype=DType.INT16, bias_dtype=DType.INT64),
    _case("s16_very_long", 1700, 5, dtype=DType.INT16, bias_dtype=DType.INT64),
    _case("s16_very_long_reduced", 1702, 6, per_channel=True, dtype=DType.INT16, bias_dtype=DType.INT64,
          rounding=Rounding.REDUCED),
    _case("s16_bias32_rows", 12, 5, batch=(3,), dtype=DType.INT16),
    _case("s16_no_bias", 12, 5, dtype=DType.INT16, bias=False),
    _case("s16_reduced", 33, 7, dtype=DType.INT16, bias_dtype=DType.INT64, rounding=Rounding.REDUCED),
    _case("s16_double", 33, 7, dtype=DType.INT16, rounding=Rounding.DOUBLE),
    _case("float", 9, 7, dtype=DType.FLOAT32),
    _case("float_relu_rows", 8, 4, batch=(1, 3), keep_dims=True, activation=Activation.RELU, dtype=DType.FLOAT32),
    _case("float_image_keep_dims", 5, 3, batch=(1, 4, 3), keep_dims=True, dtype=DType.FLOAT32),
    _case("float_no_bias", 33, 3, bias=False, dtype=DType.FLOAT32),
    *(offset_weights(case, offset) for case, offset in zip(_OFFSET, (77, -100, 5), strict=True)),
)  # fmt: skip
