"""What convolutions and pools share: output sizes, checks and the gathering of windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Op, Padding, Rounding, Types, is_activation, quantized_bounds
from midge.ops.fixed_point import quantize_multipliers


@dataclass(frozen=True, slots=True)
class Window:
    """The geometry of a sliding window."""

    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    padding: Padding

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the result; not positive where the window does not fit."""
        span_h = (self.kernel_h - 1) * self.dilation_h + 1
        span_w = (self.kernel_w - 1) * self.dilation_w + 1
        rows = (height + self.padding.top + self.padding.bottom - span_h) // self.stride_h + 1
        columns = (width + self.padding.left + self.padding.right - span_w) // self.stride_w + 1
        return rows, columns

    def taps(self, x: np.ndarray, fill: int | float) -> Iterator[tuple[int, int, np.ndarray]]:
        """(ky, kx, the [OH, OW, C] values under that tap) for each tap in row order; x is [1, H, W, C]."""
        pad = self.padding
        rows, columns = self.output_size(x.shape[1], x.shape[2])
        padded = np.pad(x[0], ((pad.top, pad.bottom), (pad.left, pad.right), (0, 0)), constant_values=fill)
        for ky in range(self.kernel_h):
            top = ky * self.dilation_h
            for kx in range(self.kernel_w):
                left = kx * self.dilation_w
                yield ky, kx, padded[top : top + (rows - 1) * self.stride_h + 1 : self.stride_h,
                                     left : left + (columns - 1) * self.stride_w + 1 : self.stride_w]  # fmt: skip


def check_window(op: Op, window: Window, x: TensorType, output: TensorType, channels: int) -> None:
    """Guards of every operator with a window: ranks, positive sizes, and the shape of the result."""
    op.expect(
        len(x.shape) == 4 and x.shape[0] == 1, f"an input of shape {list(x.shape)}", "[1, height, width, channels]"
    )
    sizes = (window.kernel_h, window.kernel_w, window.stride_h, window.stride_w, window.dilation_h, window.dilation_w)
    op.expect(min(sizes) >= 1, f"kernel, stride and dilation {sizes}", "positive numbers")
    pad = window.padding
    op.expect(min(pad.top, pad.bottom, pad.left, pad.right) >= 0, f"{pad}", "no negative padding")
    rows, columns = window.output_size(x.shape[1], x.shape[2])
    op.expect(rows >= 1 and columns >= 1, f"a window that does not fit the input {list(x.shape)}", "a smaller window")
    expected = (1, rows, columns, channels)
    op.expect(output.shape == expected, f"an output of shape {list(output.shape)}", f"{list(expected)}")


def check_weighted(op: Op, inputs: Types, output: TensorType, channel_axis: int) -> tuple[TensorType, TensorType]:
    """Guards of every operator with weights and a bias; returns the types of input and weights."""
    op.expect(len(inputs) == 3, f"{len(inputs)} operands", "input, weights and bias (or None)")
    x, weights, bias = inputs
    op.expect(x is not None and weights is not None, "an input or weights left out", "both")
    assert x is not None and weights is not None
    channels = weights.shape[channel_axis] if channel_axis < len(weights.shape) else 0
    if bias is not None:
        op.expect(bias.shape == (channels,), f"a bias of shape {list(bias.shape)}", f"[{channels}]")
    if x.dtype is DType.FLOAT32:
        same = weights.dtype is DType.FLOAT32 and output.dtype is DType.FLOAT32
        op.expect(same and (bias is None or bias.dtype is DType.FLOAT32), "float32 input", "all other operands float32")
        return x, weights
    op.expect(is_activation(x), f"an input of type {x.dtype.value}",
              "float32, int8 with one scale, or int16 with zero point 0")  # fmt: skip
    op.expect(is_activation(output) and output.dtype is x.dtype, f"an output of type {output.dtype.value}",
              f"{x.dtype.value} with one scale, as the input")  # fmt: skip
    quantization = weights.quantization
    is_wide = weights.dtype is DType.INT16 and x.dtype is DType.INT8
    op.expect((weights.dtype is DType.INT8 or is_wide) and quantization is not None,
              f"weights of type {weights.dtype.value}", "quantised int8, or int16 with int8 inputs")  # fmt: skip
    assert quantization is not None
    op.expect(quantization.axis in (None, channel_axis), f"weights quantised along axis {quantization.axis}",
              f"one scale, or one for each index of axis {channel_axis}")  # fmt: skip
    op.expect(not any(quantization.zero_points), "weights with a zero point", "zero points of 0")
    if bias is not None:
        fits = bias.dtype is DType.INT32 or (bias.dtype is DType.INT64 and x.dtype is DType.INT16)
        op.expect(fits, f"a bias of type {bias.dtype.value}", "int32 (or int64 with int16 inputs)")
    return x, weights


def convolution_rounding(inputs: Types) -> Rounding:
    """How convolutions of input, weights and bias round: DOUBLE, but REDUCED for int16 without a bias of 32 bits."""
    x, _, bias = inputs
    assert x is not None
    is_wide = x.dtype is DType.INT16 and (bias is None or bias.dtype is DType.INT64)
    return Rounding.REDUCED if is_wide else Rounding.DOUBLE


def check_rounding(op: Op, inputs: Types, rounding: Rounding) -> None:
    """Guard of convolutions: they round as their types say."""
    if inputs[0] is None or inputs[0].dtype.is_float:
        return
    wanted = convolution_rounding(inputs)
    op.expect(rounding is wanted, f"{rounding.value} rounding", f"{wanted.value} rounding")


def effective_scales(x: TensorType, weights: TensorType, output: TensorType, channels: int) -> list[float]:
    """For each output channel input scale * weight scale / output scale, in float64, in this order."""
    assert x.quantization is not None and weights.quantization is not None and output.quantization is not None
    scales = weights.quantization.scales
    if len(scales) == 1:
        scales = scales * channels
    return [x.quantization.scale * scale / output.quantization.scale for scale in scales]


def convolution_requantization(x: TensorType, weights: TensorType, output: TensorType, channels: int
                               ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Multipliers and shifts (left positive) of each output channel, for DOUBLE rounding."""
    return quantize_multipliers(effective_scales(x, weights, output, channels))


def clamp(result: np.ndarray, activation: Activation, output: TensorType) -> np.ndarray:
    """The fused activation, and the output's integer limits; casts to the output's element type."""
    if output.dtype.is_float:
        low, high = activation.real_bounds
        return np.clip(result, np.float32(low), np.float32(high)).astype(np.float32)
    low, high = quantized_bounds(activation, output)
    return np.clip(result, low, high).astype(output.dtype.numpy)


def only(types: Sequence[TensorType]) -> TensorType:
    """The one result type of an operator with one result."""
    (output,) = types
    return output
