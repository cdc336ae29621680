"""Convolution in two dimensions, with groups (docs/numerics.md, "Convolutions")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Padding, Rounding, Types
from midge.ops.cases import offset_weights, window_case
from midge.ops.fixed_point import multiply_by_quantized_multiplier, wrap_int32
from midge.ops.windows import (
    Window,
    check_rounding,
    check_weighted,
    check_window,
    clamp,
    convolution_requantization,
    only,
)


@dataclass(frozen=True, slots=True)
class Conv2D(Op):
    """Operands x [1,H,W,C], weights [O,KH,KW,I], bias [O] or None; groups = C // I.

    int8 or int16 activations with int8 weights (one scale, or one for each output channel) and a bias of int32, with
    int16 also of int64; or all float32.
    """

    name: ClassVar[str] = "conv2d"
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    padding: Padding
    activation: Activation
    rounding: Rounding

    def window(self, weights: TensorType) -> Window:
        return Window(weights.shape[1], weights.shape[2], self.stride_h, self.stride_w, self.dilation_h,
                      self.dilation_w, self.padding)  # fmt: skip

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        x, weights = check_weighted(self, inputs, output, channel_axis=0)
        self.expect(len(weights.shape) == 4, f"weights of shape {list(weights.shape)}", "[out, height, width, in]")
        check_window(self, self.window(weights), x, output, weights.shape[0])
        groups, rest = divmod(x.shape[3], weights.shape[3])
        self.expect(rest == 0 and weights.shape[0] % groups == 0,
                    f"{x.shape[3]} input channels, weights of shape {list(weights.shape)}",
                    "input channels in groups of the weights', and as many outputs in each group")  # fmt: skip
        check_rounding(self, inputs, self.rounding)

    def requantization(self, x: TensorType, weights: TensorType, output: TensorType) -> tuple[np.ndarray, np.ndarray]:
        """int32 multipliers and shifts (left positive), one for each output channel."""
        return convolution_requantization(x, weights, output, weights.shape[0])

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, weights, bias = arrays
        assert x is not None and weights is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        window = self.window(inputs[1])
        if inputs[0].dtype is DType.FLOAT32:
            acc = convolve_f32(x, weights, window)
            return (clamp(acc if bias is None else acc + bias, self.activation, output)[None],)
        acc = convolve_s32(x, weights, window, inputs[0].zero_point)
        acc = acc if bias is None else acc + bias
        acc = acc if self.rounding is Rounding.REDUCED else wrap_int32(acc)
        multipliers, shifts = self.requantization(inputs[0], inputs[1], output)
        scaled = multiply_by_quantized_multiplier(acc, multipliers, shifts, self.rounding)
        return (clamp(scaled + output.zero_point, self.activation, output)[None],)

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        assert inputs[1] is not None
        _, kernel_h, kernel_w, depth = inputs[1].shape
        return only(outputs).elements * kernel_h * kernel_w * depth


def convolve_s32(x: np.ndarray, weights: np.ndarray, window: Window, zero_point: int) -> np.ndarray:
    """Accumulators [OH, OW, O] of x - zero_point; float64 products and sums of these sizes are exact."""
    outputs, kernel_h, kernel_w, depth = weights.shape
    groups = x.shape[3] // depth
    columns = np.stack([tap for _, _, tap in window.taps(x, zero_point)], axis=2).astype(np.float64) - zero_point
    rows, width = columns.shape[:2]
    grouped = columns.reshape(rows * width, kernel_h * kernel_w, groups, depth).transpose(2, 0, 1, 3)
    matrix = weights.reshape(groups, outputs // groups, kernel_h * kernel_w * depth).astype(np.float64)
    acc = grouped.reshape(groups, rows * width, -1) @ matrix.transpose(0, 2, 1)
    return acc.transpose(1, 0, 2).reshape(rows, width, outputs).astype(np.int64)


def convolve_f32(x: np.ndarray, weights: np.ndarray, window: Window) -> np.ndarray:
    """Accumulators [OH, OW, O], summed in float32 in the order kernel row, kernel column, input channel."""
    outputs, _, _, depth = weights.shape
    groups = x.shape[3] // depth
    rows, columns = window.output_size(x.shape[1], x.shape[2])
    acc = np.zeros((rows, columns, groups, outputs // groups), np.float32)
    grouped = weights.reshape(groups, outputs // groups, *weights.shape[1:])
    for ky, kx, tap in window.taps(x, 0.0):
        split = np.ascontiguousarray(tap.reshape(rows, columns, groups, depth).transpose(3, 0, 1, 2))
        for channel in range(depth):
            acc += split[channel][..., None] * grouped[:, :, ky, kx, channel]
    return acc.reshape(rows, columns, outputs)


def _case(label: str, h: int, w: int, c: int, o: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1),
          dilation: tuple[int, int] = (1, 1), padding: tuple[int, int, int, int] = (0, 0, 0, 0), groups: int = 1,
          activation: Activation = Activation.NONE, zero_points: tuple[int, int] = (3, -5), per_channel: bool = True,
          bias: bool = True, rounding: Rounding = Rounding.REDUCED, dtype: DType = DType.INT8) -> Case:  # fmt: skip
    is_wide = dtype is DType.INT16 and rounding is Rounding.REDUCED
    rounding = Rounding.REDUCED if is_wide else Rounding.DOUBLE
    op = Conv2D(*stride, *dilation, Padding(*padding), activation, rounding)
    weights_shape = (o, *kernel, c // groups)
    return window_case(label, op, (1, h, w, c), weights_shape, op.window(TensorType(dtype, weights_shape)),
                       channels=o, channel_axis=0, fan_in=kernel[0] * kernel[1] * c // groups,
                       zero_points=(0, 0) if dtype is DType.INT16 else zero_points, per_channel=per_channel,
                       bias=bias, dtype=dtype, bias_dtype=DType.INT64 if is_wide else DType.INT32)  # fmt: skip


_SAME3 = (1, 1, 1, 1)
_OFFSET = (
    _case("1x1", 2, 5, 7, 9, (1, 1), per_channel=False),
    _case("3x3_relu", 5, 6, 8, 4, (3, 3), padding=_SAME3, activation=Activation.RELU, zero_points=(-128, -128)),
    _case("dilated", 6, 7, 3, 5, (2, 3), dilation=(2, 2)),
    _case("grouped", 4, 4, 8, 6, (3, 3), groups=2),
    _case("one_row", 1, 5, 33, 3, (1, 4), stride=(1, 2), per_channel=False),
)
CASES: tuple[Case, ...] = (
    *(_case(f"1x1_c{c}_o{o}_w{w}", 2, w, c, o, (1, 1))
      for c, o, w in ((1, 1, 1), (3, 4, 2), (4, 3, 5), (7, 8, 8), (8, 9, 3), (9, 7, 1), (8, 8, 5), (16, 4, 4),
                      (33, 5, 3), (80, 6, 5), (12, 7, 10))),
    *(_case(f"3x3_same_c{c}_o{o}_w{w}", 4, w, c, o, (3, 3), padding=_SAME3)
      for c, o, w in ((1, 3, 5), (3, 8, 8), (4, 4, 2), (7, 1, 1), (8, 9, 3), (9, 4, 4), (2, 3, 7), (24, 3, 6))),
    _case("3x3_valid", 5, 5, 3, 4, (3, 3)),
    _case("3x3_stride2_same", 8, 8, 3, 8, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1)),
    _case("3x3_stride2_odd", 7, 5, 4, 4, (3, 3), stride=(2, 2), padding=_SAME3),
    _case("1x1_stride2", 4, 5, 8, 4, (1, 1), stride=(2, 2)),
    _case("10x4_stride2", 12, 8, 1, 8, (10, 4), stride=(2, 2), padding=(4, 4, 1, 1)),
    _case("stride_uneven", 6, 9, 2, 3, (2, 3), stride=(1, 3), padding=(1, 0, 1, 1)),
    _case("stride_past_kernel", 7, 7, 4, 4, (1, 1), stride=(3, 3)),
    _case("dilated", 9, 9, 3, 4, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2)),
    _case("dilated_uneven", 8, 7, 4, 3, (3, 2), dilation=(1, 3), padding=(1, 1, 1, 2)),
    _case("padding_wide", 2, 2, 3, 4, (3, 3), padding=(2, 2, 2, 2)),
    _case("kernel_is_input", 4, 4, 8, 9, (4, 4)),
    _case("one_dimensional", 12, 1, 8, 8, (5, 1)),
    _case("row_is_pixel", 6, 1, 12, 14, (1, 1), stride=(2, 1), activation=Activation.RELU, zero_points=(5, -128)),
    _case("row_is_window", 4, 5, 6, 13, (1, 5)),
    _case("row_is_padded_window", 3, 3, 5, 8, (1, 5), padding=(0, 0, 1, 1), zero_points=(-128, 4)),
    _case("grouped2", 4, 5, 8, 6, (3, 3), padding=_SAME3, groups=2),
    _case("grouped4", 3, 3, 12, 8, (1, 1), groups=4),
    _case("relu", 4, 4, 4, 8, (3, 3), padding=_SAME3, activation=Activation.RELU, zero_points=(-128, -128)),
    _case("relu6", 4, 4, 8, 4, (1, 1), activation=Activation.RELU6, zero_points=(-128, -128)),
    _case("relu_n1_to_1", 4, 4, 8, 4, (1, 1), activation=Activation.RELU_N1_TO_1, zero_points=(0, 0)),
    _case("relu_inner_zero", 4, 4, 3, 4, (3, 3), activation=Activation.RELU, zero_points=(127, -7)),
    _case("zero_points_high", 4, 4, 4, 4, (3, 3), padding=_SAME3, zero_points=(127, 127)),
    _case("zero_points_low", 4, 4, 4, 4, (3, 3), padding=_SAME3, zero_points=(-128, 127)),
    _case("zero_points_zero", 4, 4, 7, 7, (3, 3), padding=_SAME3, zero_points=(0, 0)),
    _case("per_tensor", 4, 4, 8, 8, (3, 3), padding=_SAME3, per_channel=False),
    _case("no_bias", 4, 4, 4, 9, (3, 3), padding=_SAME3, bias=False),
    _case("s16_1x1", 3, 5, 7, 9, (1, 1), dtype=DType.INT16),
    _case("s16_3x3_same", 4, 5, 8, 4, (3, 3), padding=_SAME3, dtype=DType.INT16),
    _case("s16_stride2_relu", 6, 8, 4, 3, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1), activation=Activation.RELU,
          dtype=DType.INT16),
    _case("s16_dilated", 7, 7, 2, 4, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2), dtype=DType.INT16),
    _case("s16_grouped", 4, 4, 8, 4, (3, 3), groups=2, dtype=DType.INT16),
    _case("s16_per_tensor", 4, 4, 4, 5, (2, 2), per_channel=False, dtype=DType.INT16),
    _case("s16_long", 1, 5, 600, 3, (1, 1), dtype=DType.INT16),
    _case("s16_bias32", 4, 4, 5, 6, (3, 3), padding=_SAME3, rounding=Rounding.DOUBLE, dtype=DType.INT16),
    _case("s16_bias32_long", 1, 5, 600, 3, (1, 1), rounding=Rounding.DOUBLE, dtype=DType.INT16),
    _case("s16_no_bias", 4, 4, 3, 4, (3, 3), bias=False, dtype=DType.INT16),
    _case("float_1x1", 3, 5, 7, 9, (1, 1), dtype=DType.FLOAT32),
    _case("float_3x3_relu", 5, 4, 3, 8, (3, 3), padding=_SAME3, activation=Activation.RELU, dtype=DType.FLOAT32),
    _case("float_stride2_relu6", 6, 8, 4, 3, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1),
          activation=Activation.RELU6, dtype=DType.FLOAT32),
    _case("float_dilated", 7, 7, 2, 4, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2), dtype=DType.FLOAT32),
    _case("float_grouped_no_bias", 4, 4, 8, 4, (3, 3), groups=2, bias=False, dtype=DType.FLOAT32),
    *(offset_weights(case, offset) for case, offset in zip(_OFFSET, (100, -70, 128, 1, -100), strict=True)),
)  # fmt: skip
