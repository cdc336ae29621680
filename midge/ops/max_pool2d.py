"""Maximum pooling (docs/numerics.md, "Pools")."""

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
class MaxPool2D(Op):
    """Operand x [1,H,W,C], int8 or float32; padding is never the maximum."""

    name: ClassVar[str] = "max_pool2d"
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
        output = only(outputs)
        lowest = float(np.finfo(np.float32).min) if output.dtype.is_float else output.dtype.limits[0]
        largest = np.full(output.shape[1:], lowest, x.dtype)
        for _, _, tap in self.window().taps(x, lowest):
            largest = np.maximum(largest, tap)
        return (clamp(largest, self.activation, output)[None],)


CASES: tuple[Case, ...] = pool_cases(MaxPool2D)
