"""Transposed convolution in two dimensions, with groups (docs/numerics.md, "Transposed convolutions")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Rounding, Types
from midge.ops.cases import Operand, case, offset_weights, weighted_operands
from midge.ops.fixed_point import multiply_by_quantized_multiplier, wrap_int32
from midge.ops.windows import check_weighted, clamp, convolution_requantization, convolution_rounding, only


@dataclass(frozen=True, slots=True)
class Phases:
    """One axis of a transposed convolution, seen from its results.

    Result p belongs to phase `(p + crop) % stride`. It is a sum over the `taps` inputs that end with number
    `(p + crop) // stride`, the last one times weight `phase`, the one before times weight `phase + stride`, and so on,
    as far as the kernel reaches.
    """

    size: int
    results: int
    kernel: int
    stride: int
    crop: int

    @property
    def taps(self) -> int:
        return -(-self.kernel // self.stride)

    @property
    def first(self) -> int:
        """The last input that the first result may need."""
        return self.crop // self.stride

    @property
    def before(self) -> int:
        """Inputs before number 0 that are needed."""
        return max(0, self.taps - 1 - self.first)

    @property
    def after(self) -> int:
        """Inputs past the last that are needed."""
        return max(0, (self.results - 1 + self.crop) // self.stride - (self.size - 1))

    def by_phase(self, weights: np.ndarray, axis: int) -> np.ndarray:
        """Weights with the axis as two, [stride, taps], taps in the order of inputs; zeros where there is none."""
        pairs = [(0, 0)] * weights.ndim
        pairs[axis] = (0, self.taps * self.stride - self.kernel)
        padded = np.pad(weights, pairs)
        shape = (*weights.shape[:axis], self.taps, self.stride, *weights.shape[axis + 1 :])
        return np.flip(padded.reshape(shape), axis).swapaxes(axis, axis + 1)


@dataclass(frozen=True, slots=True)
class TransposedConv2D(Op):
    """Operands x [1,H,W,C], weights [O,KH,KW,I], bias [O] or None; groups = C // I.

    Input pixel (y, x) adds to the kernel-sized window of results that begins at (y · stride_h − top,
    x · stride_w − left). The result is `height` times `width` pixels; those that no window reaches are the bias.
    int8 or int16 activations with int8 weights (one scale, or one for each output channel) and a bias of int32, with
    int16 also of int64; or all float32. Rounding is DOUBLE; REDUCED for int16 but with an int32 bias.
    """

    name: ClassVar[str] = "transposed_conv2d"
    stride_h: int
    stride_w: int
    top: int
    left: int
    height: int
    width: int
    activation: Activation

    @property
    def rounding(self) -> Rounding:
        return Rounding.DOUBLE

    def rows(self, x: TensorType, weights: TensorType) -> Phases:
        return Phases(x.shape[1], self.height, weights.shape[1], self.stride_h, self.top)

    def columns(self, x: TensorType, weights: TensorType) -> Phases:
        return Phases(x.shape[2], self.width, weights.shape[2], self.stride_w, self.left)

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        x, weights = check_weighted(self, inputs, output, channel_axis=0)
        self.expect(len(weights.shape) == 4, f"weights of shape {list(weights.shape)}", "[out, height, width, in]")
        self.expect(len(x.shape) == 4 and x.shape[0] == 1, f"an input of shape {list(x.shape)}",
                    "[1, height, width, channels]")  # fmt: skip
        sizes = (self.stride_h, self.stride_w, self.height, self.width)
        self.expect(min(sizes) >= 1, f"strides and result {sizes}", "positive numbers")
        self.expect(min(self.top, self.left) >= 0, f"{self.top} rows, {self.left} columns cut", "no negative numbers")
        groups, rest = divmod(x.shape[3], weights.shape[3])
        self.expect(rest == 0 and weights.shape[0] % groups == 0,
                    f"{x.shape[3]} input channels, weights of shape {list(weights.shape)}",
                    "input channels in groups of the weights', and as many outputs in each group")  # fmt: skip
        expected = (1, self.height, self.width, weights.shape[0])
        self.expect(output.shape == expected, f"an output of shape {list(output.shape)}", f"{list(expected)}")

    def requantization(self, x: TensorType, weights: TensorType, output: TensorType) -> tuple[np.ndarray, np.ndarray]:
        """int32 multipliers and shifts (left positive), one for each output channel."""
        return convolution_requantization(x, weights, output, weights.shape[0])

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, weights, bias = arrays
        assert x is not None and weights is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        if inputs[0].dtype is DType.FLOAT32:
            acc = self._scattered(x, weights, inputs, output)
            return (clamp(acc if bias is None else acc + bias, self.activation, output)[None],)
        acc = self._scattered(x.astype(np.int64) - inputs[0].zero_point, weights.astype(np.int64), inputs, output)
        acc, rounding = acc if bias is None else acc + bias, convolution_rounding(inputs)
        acc = acc if rounding is Rounding.REDUCED else wrap_int32(acc)
        multipliers, shifts = self.requantization(inputs[0], inputs[1], output)
        scaled = multiply_by_quantized_multiplier(acc, multipliers, shifts, rounding)
        return (clamp(scaled + output.zero_point, self.activation, output)[None],)

    def _scattered(self, x: np.ndarray, weights: np.ndarray, inputs: Types, output: TensorType) -> np.ndarray:
        """Accumulators [height, width, O]; each result's inputs row by row, column by column, channel by channel."""
        assert inputs[0] is not None and inputs[1] is not None
        rows, columns = self.rows(inputs[0], inputs[1]), self.columns(inputs[0], inputs[1])
        pairs = ((rows.before, rows.after), (columns.before, columns.after))
        padded = np.pad(x[0], (*pairs, (0, 0)))
        outputs, _, _, depth = weights.shape
        groups = padded.shape[2] // depth
        phased = columns.by_phase(rows.by_phase(weights, 1), 3)  # [O, stride_h, taps_h, stride_w, taps_w, I]
        y, x_at = np.arange(self.height) + self.top, np.arange(self.width) + self.left
        acc = np.zeros((self.height, self.width, outputs), x.dtype)
        for ky in range(rows.taps):
            source = padded[y // self.stride_h - rows.taps + 1 + ky + rows.before]
            for kx in range(columns.taps):
                at = source[:, x_at // self.stride_w - columns.taps + 1 + kx + columns.before]
                chosen = phased[:, y % self.stride_h, ky][:, :, x_at % self.stride_w, kx]  # [O, height, width, I]
                for channel in range(depth):
                    values = np.repeat(at[:, :, channel::depth], outputs // groups, axis=2)
                    acc += values * chosen[..., channel].transpose(1, 2, 0)
        return acc.reshape(output.shape[1:])

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        """Products of the windows, those that are cut away included."""
        assert inputs[0] is not None and inputs[1] is not None
        outputs_, kernel_h, kernel_w, depth = inputs[1].shape
        return inputs[0].shape[1] * inputs[0].shape[2] * kernel_h * kernel_w * outputs_ * depth


def _case(label: str, h: int, w: int, c: int, o: int, kernel: tuple[int, int], stride: tuple[int, int], *,
          cut: tuple[int, int, int, int] = (0, 0, 0, 0), groups: int = 1, activation: Activation = Activation.NONE,
          zero_points: tuple[int, int] = (3, -5), per_channel: bool = True, bias: bool = True,
          dtype: DType = DType.INT8, bias_dtype: DType = DType.INT32) -> Case:  # fmt: skip
    """`cut` rows and columns from top, bottom, left and right; negative ones at bottom and right add some."""
    height = (h - 1) * stride[0] + kernel[0] - cut[0] - cut[1]
    width = (w - 1) * stride[1] + kernel[1] - cut[2] - cut[3]
    op = TransposedConv2D(*stride, cut[0], cut[2], height, width, activation)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        return weighted_operands(rng, (1, h, w, c), (o, *kernel, c // groups), (1, height, width, o), channels=o,
                                 channel_axis=0, fan_in=max(1, kernel[0] * kernel[1] * c // groups // 2),
                                 zero_points=(0, 0) if dtype is DType.INT16 else zero_points, per_channel=per_channel,
                                 bias=bias, dtype=dtype, bias_dtype=bias_dtype)  # fmt: skip

    return case(label, op, make)


_SAME3 = (0, 1, 0, 1)
CASES: tuple[Case, ...] = (
    *(_case(f"2x2_stride2_c{c}_o{o}_w{w}", 3, w, c, o, (2, 2), (2, 2))
      for c, o, w in ((1, 1, 1), (3, 4, 5), (4, 3, 2), (7, 8, 3), (8, 9, 4))),
    *(_case(f"3x3_stride2_same_c{c}_o{o}_w{w}", 4, w, c, o, (3, 3), (2, 2), cut=_SAME3)
      for c, o, w in ((1, 3, 5), (8, 4, 4), (9, 7, 1))),
    _case("4x4_stride2_same", 4, 3, 8, 4, (4, 4), (2, 2), cut=(1, 1, 1, 1)),
    _case("3x3_stride1", 4, 5, 3, 4, (3, 3), (1, 1)),
    _case("3x3_stride1_same", 4, 5, 3, 4, (3, 3), (1, 1), cut=(1, 1, 1, 1)),
    _case("1x1_stride2", 3, 4, 4, 4, (1, 1), (2, 2)),
    _case("1x1_stride3_wider", 3, 4, 4, 4, (1, 1), (3, 3), cut=(0, -2, 0, -1)),
    _case("5x3_stride3", 3, 4, 2, 3, (5, 3), (3, 2), cut=(1, 1, 0, 1)),
    _case("8x1_stride4", 6, 1, 8, 4, (8, 1), (4, 1), cut=(2, 2, 0, 0)),
    _case("1x8_stride4", 1, 6, 8, 4, (1, 8), (1, 4), cut=(0, 0, 2, 2)),
    _case("cut_wide", 4, 4, 3, 2, (3, 3), (2, 2), cut=(4, 1, 5, 0)),
    _case("grouped", 3, 4, 8, 6, (3, 3), (2, 2), cut=_SAME3, groups=2),
    _case("depthwise", 3, 4, 4, 4, (4, 4), (2, 2), cut=(1, 1, 1, 1), groups=4),
    _case("relu", 3, 3, 4, 8, (3, 3), (2, 2), activation=Activation.RELU, zero_points=(-128, -128)),
    _case("relu6", 3, 3, 4, 8, (2, 2), (2, 2), activation=Activation.RELU6, zero_points=(-128, -128)),
    _case("zero_points_high", 3, 3, 4, 4, (3, 3), (2, 2), zero_points=(127, 127)),
    _case("zero_points_low", 3, 3, 4, 4, (3, 3), (2, 2), zero_points=(-128, 127)),
    _case("per_tensor", 3, 3, 8, 8, (3, 3), (2, 2), per_channel=False),
    _case("no_bias", 3, 3, 4, 9, (3, 3), (2, 2), bias=False),
    _case("s16_3x3", 4, 3, 5, 8, (3, 3), (2, 2), cut=_SAME3, dtype=DType.INT16, bias_dtype=DType.INT64),
    _case("s16_8x1_relu", 6, 1, 8, 4, (8, 1), (4, 1), cut=(2, 2, 0, 0), activation=Activation.RELU, dtype=DType.INT16,
          bias_dtype=DType.INT64),
    _case("s16_grouped_long", 3, 3, 600, 2, (2, 2), (2, 1), groups=2, dtype=DType.INT16, bias_dtype=DType.INT64),
    _case("s16_bias32", 3, 3, 4, 4, (3, 3), (2, 2), dtype=DType.INT16),
    _case("s16_no_bias", 3, 3, 4, 5, (3, 3), (2, 2), bias=False, dtype=DType.INT16),
    _case("float_2x2", 3, 5, 7, 9, (2, 2), (2, 2), dtype=DType.FLOAT32),
    _case("float_3x3_relu", 4, 3, 3, 8, (3, 3), (2, 2), cut=_SAME3, activation=Activation.RELU, dtype=DType.FLOAT32),
    _case("float_grouped_no_bias", 3, 3, 8, 4, (3, 3), (2, 1), groups=2, bias=False, dtype=DType.FLOAT32),
    offset_weights(_case("3x3_stride2", 3, 4, 5, 3, (3, 3), (2, 2)), 90),
)  # fmt: skip
