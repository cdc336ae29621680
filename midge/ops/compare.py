"""Comparisons and conditions (docs/numerics.md, "Comparisons and choices")."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types, is_quantized
from midge.ops.cases import Operand, case, quantized, scale_of
from midge.ops.elementwise import expect_broadcast
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from midge.ops.windows import only

LEFT_SHIFT = 8
"""Bits by which int8 operands are shifted left before they are scaled."""


class Function(enum.Enum):
    """What is true of a and b."""

    AND = "and"
    EQUAL = "equal"
    GREATER = "greater"
    GREATER_EQUAL = "greater_equal"
    LESS = "less"
    LESS_EQUAL = "less_equal"
    NOT_EQUAL = "not_equal"
    OR = "or"


_OF_NUMBERS = {
    Function.EQUAL: np.equal, Function.GREATER: np.greater, Function.GREATER_EQUAL: np.greater_equal,
    Function.LESS: np.less, Function.LESS_EQUAL: np.less_equal, Function.NOT_EQUAL: np.not_equal,
}  # fmt: skip
_OF_BOOLS = {
    Function.AND: np.logical_and, Function.OR: np.logical_or, Function.EQUAL: np.equal,
    Function.NOT_EQUAL: np.not_equal,
}  # fmt: skip
_DTYPES = (DType.FLOAT32, DType.INT8, DType.INT32, DType.INT64, DType.BOOL)


@dataclass(frozen=True, slots=True)
class Compare(Op):
    """Operands a, b of one element type, int8 with scales of their own (below 1); the result is bool."""

    name: ClassVar[str] = "compare"
    function: Function

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 2 and None not in inputs, f"{len(inputs)} operands", "two")
        a, b = inputs
        assert a is not None and b is not None
        self.expect(a.dtype is b.dtype and a.dtype in _DTYPES, f"types {a.dtype.value} and {b.dtype.value}",
                    "both float32, int8, int32, int64 or bool")  # fmt: skip
        functions = _OF_BOOLS if a.dtype is DType.BOOL else _OF_NUMBERS
        self.expect(self.function in functions, f"{self.function.value} of {a.dtype.value}",
                    ", ".join(function.value for function in functions))  # fmt: skip
        if a.dtype is DType.INT8:
            self.expect(is_quantized(a) and is_quantized(b), "int8 without a scale", "one scale each")
            assert a.quantization is not None and b.quantization is not None
            largest = max(a.quantization.scale, b.quantization.scale)
            self.expect(largest < 1, f"the scale {largest}", "scales below 1")
        self.expect(output.dtype is DType.BOOL, f"a result of type {output.dtype.value}", "bool")
        expect_broadcast(self, (a, b), output)

    def multiplier(self, operand: TensorType) -> tuple[int, int]:
        """Q31 multiplier and shift (left positive, here 0 or negative) of an int8 operand; DOUBLE rounding."""
        assert operand.quantization is not None
        return quantize_multiplier(operand.quantization.scale)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        a, b = (self._comparable(array, type_) for array, type_ in zip(arrays, inputs, strict=True))
        functions = _OF_BOOLS if a.dtype == np.bool_ else _OF_NUMBERS
        return (np.asarray(functions[self.function](a, b), np.bool_),)

    def _comparable(self, array: np.ndarray | None, type_: TensorType | None) -> np.ndarray:
        assert array is not None and type_ is not None
        if type_.dtype is not DType.INT8:
            return array
        shifted = (array.astype(np.int64) - type_.zero_point) << LEFT_SHIFT
        return multiply_by_quantized_multiplier(shifted, *self.multiplier(type_), Rounding.DOUBLE)


def _case(label: str, function: Function, a_shape: tuple[int, ...], b_shape: tuple[int, ...] | None = None, *,
          dtype: DType = DType.INT8, constant: bool = False, scale: float = 0.05, ratio: float = 1.3,
          zero_points: tuple[int, int] = (3, -7)) -> Case:  # fmt: skip
    b_shape = a_shape if b_shape is None else b_shape

    def operand(rng: np.random.Generator, name: str, shape: tuple[int, ...], about: float, zero_point: int) -> Operand:
        type_ = quantized(shape, scale_of(rng, about), zero_point) if dtype is DType.INT8 else TensorType(dtype, shape)
        if name == "a" or not constant:
            return name, type_, None
        values = rng.standard_normal(shape) * 60
        return name, type_, (values > 0 if dtype is DType.BOOL else values).astype(dtype.numpy)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        a = operand(rng, "a", a_shape, scale, zero_points[0])
        b = operand(rng, "b", b_shape, scale * ratio, zero_points[1])
        return [a, b], TensorType(DType.BOOL, np.broadcast_shapes(a_shape, b_shape))

    return case(label, Compare(function), make)


_IMAGE = (1, 3, 4, 5)
CASES: tuple[Case, ...] = (
    *(_case(function.value, function, _IMAGE) for function in _OF_NUMBERS),
    *(_case(f"float_{function.value}", function, _IMAGE, dtype=DType.FLOAT32) for function in _OF_NUMBERS),
    *(_case(f"bool_{function.value}", function, _IMAGE, dtype=DType.BOOL) for function in _OF_BOOLS),
    _case("coarse", Function.EQUAL, _IMAGE, scale=0.7, ratio=1.0),
    _case("fine", Function.LESS_EQUAL, (1, 200), scale=0.002, ratio=1.0, zero_points=(5, 5)),
    _case("extreme", Function.GREATER, (1, 200), zero_points=(-128, 127)),
    _case("number", Function.GREATER, _IMAGE, (1,), constant=True),
    _case("channels", Function.LESS, _IMAGE, (5,), constant=True),
    _case("rows", Function.LESS, _IMAGE, (1, 3, 1, 1)),
    _case("float_number", Function.GREATER_EQUAL, _IMAGE, (1,), constant=True, dtype=DType.FLOAT32),
    _case("integers", Function.NOT_EQUAL, (1, 9), (1,), constant=True, dtype=DType.INT32),
    _case("long_integers", Function.LESS, (1, 3, 7), dtype=DType.INT64),
    _case("not", Function.EQUAL, _IMAGE, (1,), constant=True, dtype=DType.BOOL),
)
