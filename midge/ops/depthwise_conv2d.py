"""Depthwise convolution (docs/numerics.md, "Convolutions")."""

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
class DepthwiseConv2D(Op):
    """Operands x [1,H,W,C], weights [1,KH,KW,O], bias [O] or None; O = C * depth_multiplier.

    Output channel `c * depth_multiplier + m` reads input channel c. int8 (weights with one scale or one for each
    output channel, bias int32) or float32.
    """

    name: ClassVar[str] = "depthwise_conv2d"
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    padding: Padding
    activation: Activation
    rounding: Rounding
    depth_multiplier: int

    def window(self, weights: TensorType) -> Window:
        return Window(weights.shape[1], weights.shape[2], self.stride_h, self.stride_w, self.dilation_h,
                      self.dilation_w, self.padding)  # fmt: skip

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        x, weights = check_weighted(self, inputs, output, channel_axis=3)
        self.expect(len(weights.shape) == 4 and weights.shape[0] == 1, f"weights of shape {list(weights.shape)}",
                    "[1, height, width, out]")  # fmt: skip
        check_window(self, self.window(weights), x, output, weights.shape[3])
        self.expect(weights.shape[3] == x.shape[3] * self.depth_multiplier,
                    f"{x.shape[3]} input and {weights.shape[3]} output channels",
                    f"{self.depth_multiplier} output channels for each input channel")  # fmt: skip
        check_rounding(self, inputs, self.rounding)

    def requantization(self, x: TensorType, weights: TensorType, output: TensorType) -> tuple[np.ndarray, np.ndarray]:
        """int32 multipliers and shifts (left positive), one for each output channel."""
        return convolution_requantization(x, weights, output, weights.shape[3])

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, weights, bias = arrays
        assert x is not None and weights is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        window = self.window(inputs[1])
        is_float = inputs[0].dtype is DType.FLOAT32
        zero_point = 0 if is_float else inputs[0].zero_point
        acc = np.zeros(output.shape[1:], np.float32 if is_float else np.int64)
        for ky, kx, tap in window.taps(x, zero_point):
            values = np.repeat(tap.astype(acc.dtype) - acc.dtype.type(zero_point), self.depth_multiplier, axis=2)
            acc += values * weights[0, ky, kx]
        acc = acc if bias is None else acc + bias
        if is_float:
            return (clamp(acc, self.activation, output)[None],)
        acc = acc if self.rounding is Rounding.REDUCED else wrap_int32(acc)
        multipliers, shifts = self.requantization(inputs[0], inputs[1], output)
        scaled = multiply_by_quantized_multiplier(acc, multipliers, shifts, self.rounding)
        return (clamp(scaled + output.zero_point, self.activation, output)[None],)

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        assert inputs[1] is not None
        return only(outputs).elements * inputs[1].shape[1] * inputs[1].shape[2]


def _case(label: str, h: int, w: int, c: int, multiplier: int, kernel: tuple[int, int], *,
          stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
          padding: tuple[int, int, int, int] = (0, 0, 0, 0), activation: Activation = Activation.NONE,
          zero_points: tuple[int, int] = (3, -5), per_channel: bool = True, bias: bool = True,
          rounding: Rounding = Rounding.REDUCED, dtype: DType = DType.INT8) -> Case:  # fmt: skip
    is_wide = dtype is DType.INT16 and rounding is Rounding.REDUCED
    rounding = Rounding.REDUCED if is_wide else Rounding.DOUBLE
    op = DepthwiseConv2D(*stride, *dilation, Padding(*padding), activation, rounding, multiplier)
    weights_shape = (1, *kernel, c * multiplier)
    return window_case(label, op, (1, h, w, c), weights_shape, op.window(TensorType(dtype, weights_shape)),
                       channels=c * multiplier, channel_axis=3, fan_in=kernel[0] * kernel[1],
                       zero_points=(0, 0) if dtype is DType.INT16 else zero_points, per_channel=per_channel,
                       bias=bias, dtype=dtype, bias_dtype=DType.INT64 if is_wide else DType.INT32)  # fmt: skip


_SAME3 = (1, 1, 1, 1)
_OFFSET = (
    _case("3x3", 5, 6, 8, 1, (3, 3), padding=_SAME3, per_channel=False),
    _case("stride2_multiplier", 6, 6, 3, 2, (3, 3), stride=(2, 2), activation=Activation.RELU6),
)
CASES: tuple[Case, ...] = (
    *(_case(f"3x3_same_c{c}_w{w}", 3, w, c, 1, (3, 3), padding=_SAME3)
      for c, w in ((1, 8), (3, 5), (4, 4), (7, 2), (8, 1), (8, 8), (9, 5), (16, 9), (5, 13))),
    _case("3x3_valid", 5, 5, 4, 1, (3, 3)),
    _case("3x3_stride2_same", 8, 8, 8, 1, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1)),
    _case("3x3_stride2_odd", 7, 9, 3, 1, (3, 3), stride=(2, 2), padding=_SAME3),
    _case("3x1", 7, 1, 8, 1, (3, 1)),
    _case("5x1_long", 11, 1, 9, 1, (5, 1), padding=(2, 2, 0, 0)),
    _case("1x5", 2, 9, 4, 1, (1, 5), padding=(0, 0, 2, 2)),
    _case("5x5_same", 6, 6, 3, 1, (5, 5), padding=(2, 2, 2, 2)),
    _case("5x5_wide", 5, 17, 3, 1, (5, 5), padding=(2, 2, 2, 2)),
    _case("3x3_stride2_wide", 5, 19, 5, 1, (3, 3), stride=(2, 2), padding=_SAME3),
    _case("5x5_blocks", 5, 13, 2, 1, (5, 5), padding=(2, 2, 2, 2)),
    _case("1x7", 2, 11, 4, 1, (1, 7), padding=(0, 0, 3, 3)),
    _case("10x8", 11, 9, 2, 1, (10, 8)),
    _case("3x3_long_rows", 3, 70, 2, 1, (3, 3), padding=_SAME3),
    _case("3x3_stride2_blocks", 5, 27, 3, 1, (3, 3), stride=(2, 2)),
    _case("5x1_blocks", 5, 1, 20, 1, (5, 1)),
    _case("multiplier4", 4, 8, 2, 4, (3, 3)),
    _case("10x8_multiplier8", 13, 9, 1, 8, (10, 8), stride=(2, 2), padding=(4, 5, 3, 4)),
    _case("multiplier2", 4, 5, 4, 2, (3, 3), padding=_SAME3),
    _case("multiplier3", 4, 4, 3, 3, (2, 2)),
    _case("1x1", 3, 5, 7, 1, (1, 1)),
    _case("dilated", 8, 8, 4, 1, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2)),
    _case("dilated_uneven", 7, 9, 3, 1, (2, 3), dilation=(3, 1), padding=(1, 2, 1, 1)),
    _case("stride_uneven", 6, 8, 4, 1, (3, 3), stride=(1, 2), padding=_SAME3),
    _case("kernel_is_input", 4, 3, 8, 1, (4, 3)),
    _case("relu", 4, 4, 8, 1, (3, 3), padding=_SAME3, activation=Activation.RELU, zero_points=(-128, -128)),
    _case("relu6", 4, 4, 4, 1, (3, 3), padding=_SAME3, activation=Activation.RELU6, zero_points=(-128, -128)),
    _case("relu_n1_to_1", 4, 4, 4, 1, (3, 3), activation=Activation.RELU_N1_TO_1, zero_points=(127, 0)),
    _case("zero_points_high", 4, 4, 3, 1, (3, 3), padding=_SAME3, zero_points=(127, 127)),
    _case("zero_points_zero", 4, 4, 9, 1, (3, 3), padding=_SAME3, zero_points=(0, 0)),
    _case("per_tensor", 4, 4, 4, 1, (3, 3), padding=_SAME3, per_channel=False),
    _case("no_bias", 4, 4, 4, 1, (3, 3), padding=_SAME3, bias=False),
    _case("s16_3x3", 5, 4, 7, 1, (3, 3), padding=_SAME3, dtype=DType.INT16),
    _case("s16_multiplier2_relu", 4, 4, 3, 2, (3, 3), activation=Activation.RELU, dtype=DType.INT16),
    _case("s16_stride2", 6, 6, 4, 1, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1), dtype=DType.INT16),
    _case("s16_dilated", 5, 9, 2, 1, (3, 3), dilation=(1, 2), dtype=DType.INT16),
    _case("s16_no_bias", 4, 4, 4, 1, (3, 3), bias=False, dtype=DType.INT16),
    _case("float_3x3", 5, 4, 7, 1, (3, 3), padding=_SAME3, dtype=DType.FLOAT32),
    _case("float_multiplier2_relu6", 4, 4, 3, 2, (3, 3), activation=Activation.RELU6, dtype=DType.FLOAT32),
    _case("float_stride2_no_bias", 6, 6, 4, 1, (3, 3), stride=(2, 2), padding=(0, 1, 0, 1), bias=False,
          dtype=DType.FLOAT32),
    *(offset_weights(case, offset) for case, offset in zip(_OFFSET, (-33, 120), strict=True)),
)  # fmt: skip
