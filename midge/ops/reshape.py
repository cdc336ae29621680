"""Reshape: the same values in the same order under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Reshape(Op):
    """Operand x of any type; `shape` is the result's, without -1."""

    name: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        x = inputs[0]
        assert x is not None
        self.expect(output.shape == self.shape, f"an output of shape {list(output.shape)}", f"{list(self.shape)}")
        self.expect(x.elements == output.elements, f"shapes {list(x.shape)} and {list(output.shape)}",
                    "the same number of elements")  # fmt: skip
        self.expect((x.dtype, x.quantization) == (output.dtype, output.quantization), "another type or quantisation",
                    "the input's")  # fmt: skip

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None
        return (x.reshape(self.shape),)


def _case(label: str, before: tuple[int, ...], after: tuple[int, ...], dtype: DType = DType.INT8) -> Case:
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(before), None)], floats(after)
        scale = scale_of(rng, 0.1)
        zero_point = -7 if dtype is DType.INT8 else 0
        x = quantized(before, scale, zero_point, dtype)
        return [("x", x, None)], quantized(after, scale, zero_point, dtype)

    return case(label, Reshape(after), make)


CASES: tuple[Case, ...] = (
    _case("flatten", (1, 3, 4, 5), (1, 60)),
    _case("flatten_pixel", (1, 1, 1, 9), (1, 9)),
    _case("vector_to_image", (1, 24), (1, 2, 3, 4)),
    _case("rows", (1, 4, 6, 1), (1, 3, 8, 1)),
    _case("drop_axis", (1, 5, 1, 7), (1, 5, 7)),
    _case("int16", (1, 3, 4), (1, 12), DType.INT16),
    _case("float", (1, 3, 4), (1, 12), DType.FLOAT32),
)
