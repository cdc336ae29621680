"""Subtraction with broadcasting (docs/numerics.md, "Addition and subtraction")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import TensorType
from midge.ops.base import Activation, Case, Op, Types
from midge.ops.elementwise import (
    SumParameters,
    check_sum,
    elementwise_cases,
    scaled_addends,
    scaled_sum,
    sum_parameters,
)
from midge.ops.windows import clamp, only


@dataclass(frozen=True, slots=True)
class Sub(Op):
    """Operands a, b, int8 (own scales) or float32, either may be constant; the result is a - b, broadcast."""

    name: ClassVar[str] = "sub"
    activation: Activation

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        check_sum(self, inputs, only(outputs))

    def parameters(self, a: TensorType, b: TensorType, output: TensorType) -> SumParameters:
        """The integers of the quantised form."""
        return sum_parameters(a, b, output)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        a, b = arrays
        assert a is not None and b is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        if output.dtype.is_float:
            return (clamp(a - b, self.activation, output),)
        parameters = self.parameters(inputs[0], inputs[1], output)
        left, right = scaled_addends(a, b, inputs, parameters)
        return (clamp(scaled_sum(left - right, parameters, output), self.activation, output),)


CASES: tuple[Case, ...] = elementwise_cases(Sub, lambda a, b: 1.1 * (a + b))
