"""Vectors of length 1 (docs/numerics.md, "Normalisation to length 1")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types, is_quantized
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import (
    INT32_MAX,
    multiply_by_quantized_multiplier,
    rounding_divide_by_pot,
    saturate_int32,
    saturating_rounding_doubling_high_mul,
)
from midge.ops.windows import only

SMALLEST = 1e-6
"""The least length that float32 is divided by."""
MOST_CHANNELS = 33025
"""Squares of numbers of magnitude 255 whose sum stays within 32 bits."""
_RESULT_BITS = 7
"""Results are in 1/128."""


@dataclass(frozen=True, slots=True)
class L2Normalization(Op):
    """Operand x, float32, or int8 (result int8 with scale 1/128, zero point 0): over the last axis, x / |x|."""

    name: ClassVar[str] = "l2_normalization"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(len(x.shape) >= 1 and output.shape == x.shape, f"shapes {list(x.shape)} and {list(output.shape)}",
                    "the result to have the input's shape")  # fmt: skip
        if x.dtype is DType.FLOAT32:
            self.expect(output.dtype is DType.FLOAT32, f"an output of type {output.dtype.value}", "float32")
            return
        self.expect(is_quantized(x) and is_quantized(output), f"types {x.dtype.value} and {output.dtype.value}",
                    "float32 or quantised int8")  # fmt: skip
        assert output.quantization is not None
        found = (output.quantization.scale, output.zero_point)
        self.expect(found == (1 / 128, 0), f"an output scale and zero point {found}", "1/128 and 0")
        self.expect(x.channels <= MOST_CHANNELS, f"{x.channels} channels", f"at most {MOST_CHANNELS}")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        if inputs[0].dtype.is_float:
            squares = np.cumsum(x * x, axis=-1, dtype=np.float32)[..., -1:]
            return (x / np.maximum(np.sqrt(squares), np.float32(SMALLEST)),)
        centred = x.astype(np.int64) - inputs[0].zero_point
        pairs = [inverse_root(int(total)) for total in np.square(centred).sum(-1).reshape(-1)]
        multipliers, shifts = (np.array(part, np.int64).reshape(*x.shape[:-1], 1) for part in zip(*pairs, strict=True))
        scaled = multiply_by_quantized_multiplier(centred, multipliers, shifts + _RESULT_BITS, Rounding.DOUBLE)
        return (np.clip(scaled, -128, 127).astype(np.int8),)


def inverse_root(total: int) -> tuple[int, int]:
    """1 / sqrt(total) as multiplier (Q31) and shift (left positive), for 0 <= total < 2^31; 0 counts as 1.

    Five Newton steps from 1, in Q3.28, on total shifted to [2^27, 2^29) by pairs of bits.
    """
    if total <= 1:
        return INT32_MAX, 0
    right = 11
    while total >= 1 << 29:
        total >>= 2
        right += 1
    pairs = (31 - total.bit_length()) // 2 - 1
    right, total = right - pairs, total << 2 * pairs
    mul = saturating_rounding_doubling_high_mul
    half = rounding_divide_by_pot(np.asarray(total >> 1), 1)
    x, three_halves = np.asarray(1 << 28), np.asarray((1 << 28) + (1 << 27))
    for _ in range(5):
        cube = saturate_int32(mul(mul(x, x), x) << 6)
        x = saturate_int32((mul(three_halves, x) - mul(half, cube)) << 3)
    root = int(mul(x, 1518500250))  # sqrt(1/2) in Q31
    return (root << -right, 0) if right < 0 else (root, -right)


def _case(label: str, shape: tuple[int, ...], *, zero_point: int = 3, dtype: DType = DType.INT8) -> Case:
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(shape)
        return [("x", quantized(shape, scale_of(rng, 0.05), zero_point), None)], quantized(shape, 1 / 128, 0)

    return case(label, L2Normalization(), make)


CASES: tuple[Case, ...] = (
    _case("vector", (1, 9)),
    _case("one", (1, 40, 1)),
    _case("two", (1, 40, 2)),
    _case("image", (1, 3, 4, 5)),
    _case("long", (1, 9000)),
    _case("zero_point_low", (1, 2, 33), zero_point=-128),
    _case("zero_point_high", (1, 2, 33), zero_point=127),
    _case("float", (1, 3, 4, 5), dtype=DType.FLOAT32),
    _case("float_vector", (1, 17), dtype=DType.FLOAT32),
)
