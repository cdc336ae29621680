"""Functions of two values with broadcasting (docs/numerics.md, "Functions of two values")."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.elementwise import expect_broadcast
from midge.ops.windows import clamp, only


class Function(enum.Enum):
    """Which function."""

    DIV = "div"
    FLOOR_DIV = "floor_div"
    FLOOR_MOD = "floor_mod"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    POWER = "power"
    SQUARED_DIFFERENCE = "squared_difference"


_OF_INTEGERS = (Function.MAXIMUM, Function.MINIMUM)


@dataclass(frozen=True, slots=True)
class Binary(Op):
    """Operands a, b, float32; for maximum and minimum also int8 or int16 with one scale and zero point on all sides."""

    name: ClassVar[str] = "binary"
    function: Function
    activation: Activation

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 2 and None not in inputs, f"{len(inputs)} operands", "two")
        a, b = inputs
        assert a is not None and b is not None
        kinds = {(type_.dtype, type_.quantization) for type_ in (a, b, output)}
        self.expect(len(kinds) == 1, "operands of different types or scales", "one type and scale on all sides")
        of_integers = output.dtype in (DType.INT8, DType.INT16) and self.function in _OF_INTEGERS
        fits = output.dtype is DType.FLOAT32 or of_integers
        self.expect(fits, f"{self.function.value} of {output.dtype.value}", "float32")
        expect_broadcast(self, (a, b), output)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        a, b = arrays
        assert a is not None and b is not None
        with np.errstate(all="ignore"):
            result = _apply(self.function, a, b)
        return (clamp(result, self.activation, only(outputs)),)


def _apply(function: Function, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if function is Function.DIV:
        return a / b
    if function is Function.FLOOR_DIV:
        return np.floor(a / b)
    if function is Function.FLOOR_MOD:
        rest = np.fmod(a, b)
        return np.where((rest != 0) & ((b < 0) != (rest < 0)), rest + b, rest)
    if function is Function.POWER:
        return np.power(a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
    if function is Function.SQUARED_DIFFERENCE:
        return (a - b) * (a - b)
    return np.maximum(a, b) if function is Function.MAXIMUM else np.minimum(a, b)


def _case(label: str, function: Function, a_shape: tuple[int, ...], b_shape: tuple[int, ...], *, constant: str = "",
          dtype: DType = DType.FLOAT32, activation: Activation = Activation.NONE) -> Case:  # fmt: skip
    shape = np.broadcast_shapes(a_shape, b_shape)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        scale, zero_point = scale_of(rng, 0.1), 5 if dtype is DType.INT8 else 0
        operands: list[Operand | None] = []
        for name, size in (("a", a_shape), ("b", b_shape)):
            type_ = floats(size) if dtype is DType.FLOAT32 else quantized(size, scale, zero_point, dtype)
            data = None
            if name == constant:
                data = rng.standard_normal(size).astype(np.float32) if type_.dtype.is_float else rng.integers(
                    *dtype.limits, size, dtype.numpy, endpoint=True
                )  # fmt: skip
            operands.append((name, type_, data))
        return operands, floats(shape) if dtype is DType.FLOAT32 else quantized(shape, scale, zero_point, dtype)

    return case(label, Binary(function, activation), make)


def _power_case() -> Case:
    """Whole exponents, which negative numbers have powers of too."""
    exponents = np.array([2, 3, -1, 5, 0, 7], np.float32)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        del rng
        return [("a", floats((1, 3, 5, 6)), None), ("b", floats((6,)), exponents)], floats((1, 3, 5, 6))

    return case("power", Binary(Function.POWER, Activation.NONE), make)


CASES: tuple[Case, ...] = (
    *(_case(function.value, function, (1, 3, 5, 4), (1, 3, 5, 4)) for function in Function
      if function not in (Function.FLOOR_DIV, Function.FLOOR_MOD, Function.POWER)),
    _power_case(),
    _case("div_constant", Function.DIV, (1, 3, 4), (4,), constant="b"),
    _case("div_relu", Function.DIV, (1, 3, 4), (1, 3, 4), activation=Activation.RELU),
    _case("maximum_s8", Function.MAXIMUM, (1, 3, 5, 4), (1, 3, 5, 4), dtype=DType.INT8),
    _case("minimum_s8_channels", Function.MINIMUM, (1, 3, 5, 4), (4,), constant="b", dtype=DType.INT8),
    _case("maximum_s8_number", Function.MAXIMUM, (1, 3, 5, 4), (1,), constant="b", dtype=DType.INT8),
    _case("maximum_s8_relu", Function.MAXIMUM, (1, 3, 5, 4), (1, 3, 5, 4), dtype=DType.INT8,
          activation=Activation.RELU),
    _case("minimum_s8_relu6", Function.MINIMUM, (1, 3, 5, 4), (4,), constant="b", dtype=DType.INT8,
          activation=Activation.RELU6),
    _case("maximum_s16", Function.MAXIMUM, (1, 3, 5, 4), (1, 3, 5, 4), dtype=DType.INT16),
    _case("minimum_s16_number", Function.MINIMUM, (1, 3, 5, 4), (1,), constant="b", dtype=DType.INT16),
    _case("maximum_constant", Function.MAXIMUM, (1, 3, 5, 4), (1,), constant="b"),
    _case("minimum_rows", Function.MINIMUM, (1, 3, 1, 1), (1, 3, 5, 4)),
)  # fmt: skip
