"""Concatenation along an axis (docs/numerics.md, "Data movement")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Concatenation(Op):
    """Any number of operands of one type and quantisation, which the result shares; any may be constant."""

    name: ClassVar[str] = "concatenation"
    axis: int
    activation: Activation

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) > 0 and None not in inputs, f"{len(inputs)} operands", "one or more")
        types = [type_ for type_ in inputs if type_ is not None]
        rank = len(output.shape)
        self.expect(0 <= self.axis < rank, f"axis {self.axis} of rank {rank}", f"0 to {rank - 1}")
        self.expect(self.activation is Activation.NONE, f"a fused {self.activation.value}", "no activation")
        for type_ in types:
            rest = (*type_.shape[: self.axis], *type_.shape[self.axis + 1 :])
            others = (*output.shape[: self.axis], *output.shape[self.axis + 1 :])
            self.expect(len(type_.shape) == rank and rest == others, f"an operand of shape {list(type_.shape)}",
                        f"{list(output.shape)} but for axis {self.axis}")  # fmt: skip
            self.expect((type_.dtype, type_.quantization) == (output.dtype, output.quantization),
                        "operands of different type or quantisation", "the result's")  # fmt: skip
        total = sum(type_.shape[self.axis] for type_ in types)
        self.expect(total == output.shape[self.axis], f"{total} indices along axis {self.axis}",
                    f"{output.shape[self.axis]}")  # fmt: skip

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        return (np.concatenate([array for array in arrays if array is not None], axis=self.axis),)


def _case(label: str, shapes: Sequence[tuple[int, ...]], axis: int, *, constant: int | None = None,
          dtype: DType = DType.INT8) -> Case:  # fmt: skip
    after = list(shapes[0])
    after[axis] = sum(shape[axis] for shape in shapes)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        scale = scale_of(rng, 0.1)

        def typed(shape: Sequence[int]) -> TensorType:
            zero_point = -9 if dtype is DType.INT8 else 0
            return floats(shape) if dtype is DType.FLOAT32 else quantized(shape, scale, zero_point, dtype)

        def data(index: int, shape: tuple[int, ...]) -> np.ndarray | None:
            return rng.integers(-128, 128, shape).astype(dtype.numpy) if index == constant else None

        return [(f"x{i}", typed(shape), data(i, shape)) for i, shape in enumerate(shapes)], typed(after)

    return case(label, Concatenation(axis, Activation.NONE), make)


CASES: tuple[Case, ...] = (
    _case("channels", [(1, 2, 3, 4), (1, 2, 3, 5)], 3),
    _case("channels_three", [(1, 2, 3, 1), (1, 2, 3, 8), (1, 2, 3, 3)], 3),
    _case("columns", [(1, 2, 1, 4), (1, 2, 3, 4)], 2),
    _case("rows", [(1, 2, 3, 4), (1, 1, 3, 4), (1, 3, 3, 4)], 1),
    _case("vectors", [(1, 5), (1, 8)], 1),
    _case("sequence", [(1, 3, 4), (1, 2, 4)], 1),
    _case("constant", [(1, 2, 3, 4), (1, 2, 3, 2)], 3, constant=1),
    _case("s16", [(1, 2, 3, 3), (1, 2, 3, 2)], 3, constant=1, dtype=DType.INT16),
    _case("s16_rows", [(1, 2, 3, 3), (1, 1, 3, 3)], 1, dtype=DType.INT16),
    _case("float", [(1, 2, 3, 3), (1, 2, 3, 2)], 3, dtype=DType.FLOAT32),
)
