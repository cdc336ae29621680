"""Mean over axes (docs/numerics.md, "Mean")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types, is_activation
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier, wrap_int32
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Mean(Op):
    """Operand x, int8 (requantised to the result's scale and zero point) or float32; axes ascending, not negative."""

    name: ClassVar[str] = "mean"
    axes: tuple[int, ...]
    keep_dims: bool

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        x, output = checked_reduction(self, self.axes, self.keep_dims, inputs, outputs)
        same = x.dtype is output.dtype
        self.expect(same and (x.dtype is DType.FLOAT32 or (is_activation(x) and is_activation(output))),
                    f"types {x.dtype.value} and {output.dtype.value}",
                    "float32, int8 with one scale, or int16 with zero point 0")  # fmt: skip

    def requantization(self, x: TensorType, output: TensorType) -> tuple[int, int]:
        """Multiplier and shift (left positive) that scale the sum to the mean, for DOUBLE rounding."""
        assert x.quantization is not None and output.quantization is not None
        multiplier_q31, shift = quantize_multiplier(x.quantization.scale / output.quantization.scale)
        count = math.prod(x.shape[axis] for axis in self.axes)
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        return (multiplier_q31 << bits) // count, shift - bits

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        output = only(outputs)
        count = math.prod(x.shape[axis] for axis in self.axes)
        if inputs[0].dtype.is_float:
            return ((_sum_f32(x, self.axes) / np.float32(count)).reshape(output.shape),)
        total = x.astype(np.int64).sum(axis=self.axes) - inputs[0].zero_point * count
        multiplier_q31, shift = self.requantization(inputs[0], output)
        scaled = multiply_by_quantized_multiplier(wrap_int32(total), multiplier_q31, shift, Rounding.DOUBLE)
        result = np.clip(scaled + output.zero_point, *output.dtype.limits).astype(output.dtype.numpy)
        return (result.reshape(output.shape),)


def checked_reduction(op: Op, axes: tuple[int, ...], keep_dims: bool, inputs: Types, outputs: Sequence[TensorType]
                      ) -> tuple[TensorType, TensorType]:  # fmt: skip
    """The types of operand and result of a reduction whose axes and shapes fit."""
    output = only(outputs)
    op.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
    x = inputs[0]
    assert x is not None
    valid = tuple(sorted(set(axes))) == axes and all(0 <= axis < len(x.shape) for axis in axes)
    op.expect(valid and len(axes) > 0, f"axes {list(axes)} of rank {len(x.shape)}",
              "ascending axes within the rank")  # fmt: skip
    expected = reduced_shape(x.shape, axes, keep_dims)
    op.expect(output.shape == expected, f"an output of shape {list(output.shape)}", f"{list(expected)}")
    return x, output


def reduced_shape(shape: tuple[int, ...], axes: tuple[int, ...], keep_dims: bool) -> tuple[int, ...]:
    """The shape after a reduction over axes."""
    if keep_dims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _sum_f32(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Sums in float32, in the order of the elements in memory."""
    kept = tuple(axis for axis in range(x.ndim) if axis not in axes)
    flat = x.transpose(*axes, *kept).reshape(-1, *(x.shape[axis] for axis in kept))
    return np.cumsum(flat, axis=0, dtype=np.float32)[-1]


def _case(label: str, shape: tuple[int, ...], axes: tuple[int, ...], *, keep_dims: bool = False,
          zero_points: tuple[int, int] = (3, -5), ratio: float = 0.6, dtype: DType = DType.INT8) -> Case:  # fmt: skip
    after = reduced_shape(shape, axes, keep_dims)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(after)
        scale = scale_of(rng, 0.05)
        return [("x", quantized(shape, scale, zero_points[0], dtype), None)], quantized(
            after, scale_of(rng, scale * ratio), zero_points[1], dtype
        )

    return case(label, Mean(axes, keep_dims), make)


CASES: tuple[Case, ...] = (
    *(_case(f"image_c{c}_w{w}", (1, 3, w, c), (1, 2)) for c, w in ((1, 8), (3, 5), (4, 2), (7, 1), (8, 3), (9, 4))),
    _case("keep_dims", (1, 4, 4, 8), (1, 2), keep_dims=True),
    _case("single_pixel", (1, 1, 1, 8), (1, 2)),
    _case("many", (1, 24, 24, 3), (1, 2)),
    _case("rows", (1, 5, 3, 4), (1,)),
    _case("columns", (1, 3, 5, 4), (2,), keep_dims=True),
    _case("channels", (1, 3, 2, 9), (3,)),
    _case("sequence", (1, 7, 4), (1,)),
    _case("zero_points_low", (1, 3, 3, 4), (1, 2), zero_points=(-128, -128)),
    _case("zero_points_high", (1, 3, 3, 4), (1, 2), zero_points=(127, 127)),
    _case("coarser", (1, 4, 4, 4), (1, 2), ratio=2.5),
    _case("s16", (1, 3, 4, 5), (1, 2), zero_points=(0, 0), dtype=DType.INT16),
    _case("s16_many", (1, 24, 24, 3), (1, 2), zero_points=(0, 0), dtype=DType.INT16),
    _case("s16_channels", (1, 3, 2, 9), (3,), zero_points=(0, 0), dtype=DType.INT16),
    _case("float", (1, 3, 4, 5), (1, 2), dtype=DType.FLOAT32),
    _case("float_channels", (1, 2, 2, 7), (3,), keep_dims=True, dtype=DType.FLOAT32),
)
