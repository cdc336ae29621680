"""Convolution of float32 activations by int8 weights (docs/numerics.md, "Hybrid convolution")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Activation, Case, Op, Padding, Types
from midge.ops.cases import Operand, case, floats, scale_of
from midge.ops.conv2d import convolve_s32
from midge.ops.fixed_point import round_half_away
from midge.ops.windows import Window, check_window, clamp, only


@dataclass(frozen=True, slots=True)
class Conv2DHybrid(Op):
    """Operands x float32 [1,H,W,C], weights int8 [O,KH,KW,I], bias float32 [O] or None; groups = C // I.

    The whole input is quantised at run time with one scale; `asymmetric` says whether with a zero point too.
    """

    name: ClassVar[str] = "conv2d_hybrid"
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    padding: Padding
    activation: Activation
    asymmetric: bool

    def window(self, weights: TensorType) -> Window:
        return Window(weights.shape[1], weights.shape[2], self.stride_h, self.stride_w, self.dilation_h,
                      self.dilation_w, self.padding)  # fmt: skip

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 3, f"{len(inputs)} operands", "input, weights and bias (or None)")
        x, weights, bias = inputs
        assert x is not None and weights is not None
        self.expect(
            x.dtype is DType.FLOAT32 and output.dtype is DType.FLOAT32, f"{x.dtype.value} activations", "float32"
        )
        quantization = weights.quantization
        self.expect(weights.dtype is DType.INT8 and quantization is not None and quantization.axis in (None, 0)
                    and not any(quantization.zero_points),
                    f"weights of type {weights.dtype.value}", "symmetric int8, scales along axis 0")  # fmt: skip
        self.expect(len(weights.shape) == 4, f"weights of shape {list(weights.shape)}", "[out, height, width, in]")
        check_window(self, self.window(weights), x, output, weights.shape[0])
        groups, rest = divmod(x.shape[3], weights.shape[3])
        self.expect(rest == 0 and weights.shape[0] % groups == 0,
                    f"{x.shape[3]} input channels, weights of shape {list(weights.shape)}",
                    "input channels in groups of the weights', and as many outputs in each group")  # fmt: skip
        if bias is not None:
            self.expect(bias.dtype is DType.FLOAT32 and bias.shape == weights.shape[:1],
                        f"a bias {bias.dtype.value}{list(bias.shape)}", f"float32[{weights.shape[0]}]")  # fmt: skip

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, weights, bias = arrays
        assert x is not None and weights is not None and inputs[1] is not None
        assert inputs[1].quantization is not None
        w_scales = np.array(inputs[1].quantization.scales, np.float32)
        quantise = quantize_asymmetric if self.asymmetric else quantize_symmetric
        q, scale, zero_point = quantise(x)
        acc = convolve_s32(q, weights, self.window(inputs[1]), zero_point).astype(np.float32)
        result = acc * w_scales * scale if self.asymmetric else acc * (scale * w_scales)
        result = result if bias is None else result + bias
        return (clamp(result, self.activation, only(outputs))[None],)

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        assert inputs[1] is not None
        _, kernel_h, kernel_w, depth = inputs[1].shape
        return only(outputs).elements * kernel_h * kernel_w * depth


def quantize_symmetric(x: np.ndarray) -> tuple[np.ndarray, np.float32, int]:
    """int8 values in [-127, 127], their scale, and the zero point 0; all in float32 arithmetic."""
    bound = np.max(np.abs(x))
    if bound == 0.0:
        return np.zeros(x.shape, np.int8), np.float32(1.0), 0
    factor = np.float32(127.0) / bound
    return np.clip(round_half_away(x * factor), -127, 127).astype(np.int8), np.float32(bound / np.float32(127.0)), 0


def quantize_asymmetric(x: np.ndarray) -> tuple[np.ndarray, np.float32, int]:
    """int8 values, their scale and zero point; all in float32 arithmetic."""
    low, high = np.minimum(np.float32(0.0), x.min()), np.maximum(np.float32(0.0), x.max())
    if low == high:
        return np.zeros(x.shape, np.int8), np.float32(1.0), 0
    scale = (high - low) / np.float32(255.0)
    from_low, from_high = np.float32(-128.0) - low / scale, np.float32(127.0) - high / scale
    low_is_better = np.float32(128.0) + abs(low / scale) < np.float32(127.0) + abs(high / scale)
    zero_point = int(np.clip(round_half_away(from_low if low_is_better else from_high), -128, 127))
    q = round_half_away(x * (np.float32(1.0) / scale)) + np.float32(zero_point)
    return np.clip(q, -128, 127).astype(np.int8), np.float32(scale), zero_point


def _case(label: str, h: int, w: int, c: int, o: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1),
          dilation: tuple[int, int] = (1, 1), padding: tuple[int, int, int, int] = (0, 0, 0, 0), groups: int = 1,
          activation: Activation = Activation.NONE, per_channel: bool = False, bias: bool = True) -> Case:  # fmt: skip
    op = Conv2DHybrid(*stride, *dilation, Padding(*padding), activation, asymmetric=per_channel)
    shape = (o, *kernel, c // groups)
    rows, columns = op.window(TensorType(DType.INT8, shape)).output_size(h, w)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        scales = tuple(float(np.float32(scale_of(rng, 0.02))) for _ in range(o if per_channel else 1))
        quantization = Quantization(scales, (0,) * len(scales), 0 if per_channel else None)
        weights = ("w", TensorType(DType.INT8, shape, quantization), rng.integers(-127, 128, shape, np.int8))
        offset = ("b", floats((o,)), rng.standard_normal(o).astype(np.float32)) if bias else None
        return [("x", floats((1, h, w, c)), None), weights, offset], floats((1, rows, columns, o))

    return case(label, op, make)


_SAME3 = (1, 1, 1, 1)
CASES: tuple[Case, ...] = (
    *(_case(f"1x1_c{c}_o{o}", 2, w, c, o, (1, 1)) for c, o, w in ((1, 3, 5), (4, 8, 2), (8, 4, 1), (9, 7, 8))),
    _case("one_output", 3, 3, 4, 1, (2, 2)),
    _case("3x3_same", 4, 5, 3, 8, (3, 3), padding=_SAME3),
    _case("10x4_stride2_relu", 12, 8, 1, 8, (10, 4), stride=(2, 2), padding=(4, 4, 1, 1), activation=Activation.RELU),
    _case("3x3_no_bias_relu6", 4, 4, 4, 3, (3, 3), activation=Activation.RELU6, bias=False),
    _case("per_channel_1x1", 3, 4, 8, 5, (1, 1), per_channel=True),
    _case("per_channel_3x3_same", 4, 4, 3, 4, (3, 3), padding=_SAME3, per_channel=True),
    _case("per_channel_dilated", 7, 7, 2, 4, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2), per_channel=True),
    _case("per_channel_grouped", 4, 4, 4, 4, (3, 3), groups=2, per_channel=True),
)  # fmt: skip
