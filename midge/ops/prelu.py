"""The rectifier whose slope below zero is a tensor (docs/numerics.md, "Leaky rectifiers")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.elementwise import check_elementwise
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Prelu(Op):
    """Operands x and slope, int8 with scales of their own, or float32: x, or slope · x where x is negative."""

    name: ClassVar[str] = "prelu"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        check_elementwise(self, inputs, only(outputs))
        x = inputs[0]
        assert x is not None
        self.expect(x.shape == only(outputs).shape, f"a slope that widens {list(x.shape)}", "one that broadcasts to it")

    def multipliers(self, x: TensorType, slope: TensorType, output: TensorType
                    ) -> tuple[tuple[int, int], tuple[int, int]]:  # fmt: skip
        """Q31 multipliers and shifts (left positive) for x >= 0 and for x < 0; DOUBLE rounding."""
        assert x.quantization is not None and slope.quantization is not None and output.quantization is not None
        before, after = np.float32(x.quantization.scale), np.float32(output.quantization.scale)
        below = before * np.float32(slope.quantization.scale) / after
        return quantize_multiplier(float(before / after)), quantize_multiplier(float(below))

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, slope = arrays
        assert x is not None and slope is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        if output.dtype.is_float:
            return (np.where(x >= 0, x, x * slope),)
        above, below = self.multipliers(inputs[0], inputs[1], output)
        centred = x.astype(np.int64) - inputs[0].zero_point
        products = centred * (slope.astype(np.int64) - inputs[1].zero_point)
        scaled = np.where(
            centred >= 0,
            multiply_by_quantized_multiplier(centred, *above, Rounding.DOUBLE),
            multiply_by_quantized_multiplier(products, *below, Rounding.DOUBLE),
        )
        return (np.clip(scaled + output.zero_point, -128, 127).astype(np.int8),)


def _case(label: str, shape: tuple[int, ...], slope: tuple[int, ...], *, constant: bool = True,
          zero_points: tuple[int, int, int] = (-3, 9, -40), dtype: DType = DType.INT8) -> Case:  # fmt: skip
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            data = rng.standard_normal(slope).astype(np.float32) if constant else None
            return [("x", floats(shape), None), ("slope", floats(slope), data)], floats(shape)
        scale = scale_of(rng, 0.08)
        data = rng.integers(-128, 128, slope, np.int8) if constant else None
        alpha = ("slope", quantized(slope, scale_of(rng, 0.01), zero_points[1]), data)
        x = ("x", quantized(shape, scale, zero_points[0]), None)
        return [x, alpha], quantized(shape, scale_of(rng, scale * 0.8), zero_points[2])

    return case(label, Prelu(), make)


_IMAGE = (1, 3, 4, 5)
CASES: tuple[Case, ...] = (
    _case("channels", _IMAGE, (1, 1, 5)),
    _case("one", _IMAGE, (1, 1, 1)),
    _case("all", _IMAGE, _IMAGE[1:]),
    _case("columns", _IMAGE, (4, 1)),
    _case("vector", (1, 9), (9,)),
    _case("varies", _IMAGE, _IMAGE, constant=False),
    _case("zero_points_low", (1, 4, 7, 8), (1, 1, 8), zero_points=(-128, -128, -128)),
    _case("zero_points_high", (1, 4, 7, 8), (1, 1, 8), zero_points=(127, 127, 127)),
    _case("float", _IMAGE, (1, 1, 5), dtype=DType.FLOAT32),
    _case("float_vector", (1, 7), (1,), dtype=DType.FLOAT32),
)
