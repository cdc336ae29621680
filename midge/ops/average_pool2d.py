"""Average pooling (docs/numerics.md, "Pools")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import TensorType
from midge.ops.base import Activation, Case, Op, Padding, Types
from midge.ops.pooling import check_pool, pool_cases
from midge.ops.windows import Window, clamp, only


@dataclass(frozen=True, slots=True)
class AveragePool2D(Op):
    """Operand x [1,H,W,C], int8, uint8, int16 or float32; padding does not count as values."""

    name: ClassVar[str] = "average_pool2d"
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    padding: Padding
    activation: Activation

    def window(self) -> Window:
        return Window(self.kernel_h, self.kernel_w, self.stride_h, self.stride_w, 1, 1, self.padding)

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        check_pool(self, self.window(), inputs, only(outputs))

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        output, window = only(outputs), self.window()
        dtype = np.float32 if output.dtype.is_float else np.int64
        total = np.zeros(output.shape[1:], dtype)
        for _, _, tap in window.taps(x, 0):
            total += tap
        inside = np.ones((1, *x.shape[1:3], 1), np.int64)
        count = sum(tap for _, _, tap in window.taps(inside, 0))
        if output.dtype.is_float:
            return (clamp(total / np.asarray(count, np.float32), self.activation, output)[None],)
        return (clamp(divide_half_away(total, np.asarray(count)), self.activation, output)[None],)


def divide_half_away(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """total / count to nearest, halves away from zero: C's `(total ± count / 2) / count`."""
    return np.sign(total) * ((np.abs(total) + count // 2) // count)


CASES: tuple[Case, ...] = pool_cases(AveragePool2D)
