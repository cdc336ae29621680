"""Dequantisation to float32 (docs/numerics.md, "Quantise and dequantise")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types, is_quantized
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Dequantize(Op):
    """Operand x, int8, uint8 or int16 with one scale; the result is float32."""

    name: ClassVar[str] = "dequantize"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(is_quantized(x, DType.INT8, DType.UINT8, DType.INT16), f"an input of type {x.dtype.value}",
                    "int8, uint8 or int16 with one scale")  # fmt: skip
        self.expect(output.dtype is DType.FLOAT32, f"an output of type {output.dtype.value}", "float32")
        self.expect(output.shape == x.shape, f"an output of shape {list(output.shape)}", f"{list(x.shape)}")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None and inputs[0].quantization is not None
        centred = (x.astype(np.int32) - inputs[0].zero_point).astype(np.float32)
        return (np.float32(inputs[0].quantization.scale) * centred,)


def _case(label: str, shape: tuple[int, ...], zero_point: int = 3, source: DType = DType.INT8) -> Case:
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        return [("x", quantized(shape, scale_of(rng, 0.03), zero_point, source), None)], floats(shape)

    return case(label, Dequantize(), make)


CASES: tuple[Case, ...] = (
    _case("c1", (1, 1)),
    _case("row", (1, 9)),
    _case("image", (1, 3, 5, 4)),
    _case("zero_point_low", (1, 8), -128),
    _case("zero_point_high", (1, 7), 127),
    _case("uint8", (1, 8), 128, DType.UINT8),
    _case("int16", (1, 8), 0, DType.INT16),
)
