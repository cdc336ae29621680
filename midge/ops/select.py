"""A choice between two values (docs/numerics.md, "Comparisons and choices")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.elementwise import expect_broadcast
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Select(Op):
    """Operands condition (bool), a, b: a where the condition is true, else b. a, b and the result have one type."""

    name: ClassVar[str] = "select"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 3 and None not in inputs, f"{len(inputs)} operands", "a condition and two values")
        condition, a, b = inputs
        assert condition is not None and a is not None and b is not None
        self.expect(condition.dtype is DType.BOOL, f"a condition of type {condition.dtype.value}", "bool")
        kinds = {(type_.dtype, type_.quantization) for type_ in (a, b, output)}
        self.expect(len(kinds) == 1, "values of different types or scales", "one type and scale on all sides")
        expect_broadcast(self, (condition, a, b), output)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        condition, a, b = arrays
        assert condition is not None and a is not None and b is not None
        return (np.where(condition, a, b),)


def _case(label: str, condition: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], *, constant: str = "",
          dtype: DType = DType.INT8) -> Case:  # fmt: skip
    shape = np.broadcast_shapes(condition, a, b)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        scale = scale_of(rng, 0.1)

        def type_of(size: tuple[int, ...]) -> TensorType:
            if dtype is DType.INT8:
                return quantized(size, scale, -9)
            return floats(size) if dtype is DType.FLOAT32 else TensorType(dtype, size)

        def operand(name: str, type_: TensorType) -> Operand:
            values = (rng.standard_normal(type_.shape) * 50).astype(type_.dtype.numpy)
            return name, type_, values if name == constant else None

        flag = operand("condition", TensorType(DType.BOOL, condition))
        return [flag, operand("a", type_of(a)), operand("b", type_of(b))], type_of(shape)

    return case(label, Select(), make)


_IMAGE = (1, 3, 4, 5)
CASES: tuple[Case, ...] = (
    _case("image", _IMAGE, _IMAGE, _IMAGE),
    _case("vector", (1, 9), (1, 9), (1, 9)),
    _case("number", _IMAGE, _IMAGE, (1,), constant="b"),
    _case("channels", (5,), _IMAGE, _IMAGE),
    _case("one_condition", (1,), _IMAGE, _IMAGE),
    _case("rows", (1, 3, 1, 1), (1, 1, 4, 5), _IMAGE),
    _case("constant_mask", (1, 1, 4, 1), _IMAGE, (1,), constant="condition"),
    _case("float", _IMAGE, _IMAGE, _IMAGE, dtype=DType.FLOAT32),
    _case("float_number", _IMAGE, (1,), _IMAGE, constant="a", dtype=DType.FLOAT32),
    _case("integers", (1, 9), (1, 9), (1, 9), dtype=DType.INT32),
)
