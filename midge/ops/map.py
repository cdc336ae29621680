"""Functions of one value (docs/numerics.md, "Functions of one value")."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops import map_s8
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.unary import check_unary, tabulated
from midge.ops.windows import only


class Function(enum.Enum):
    """Which function; float32 in and out."""

    ABS = "abs"
    ATAN = "atan"
    CEIL = "ceil"
    COS = "cos"
    ELU = "elu"
    ERF = "erf"
    EXP = "exp"
    FLOOR = "floor"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    HARD_SWISH = "hard_swish"
    LOG = "log"
    NEG = "neg"
    RECIPROCAL = "reciprocal"
    ROUND = "round"
    RSQRT = "rsqrt"
    SIGN = "sign"
    SIN = "sin"
    SQRT = "sqrt"
    SQUARE = "square"
    TRUNC = "trunc"


TABULATED = (Function.ELU, Function.EXP, Function.GELU, Function.GELU_TANH)
"""Functions whose int8 form is what float32 arithmetic gives."""
_OF_BYTES: Mapping[Function, Callable[[np.ndarray, TensorType, TensorType], np.ndarray]] = {
    Function.ABS: map_s8.absolute, Function.HARD_SWISH: map_s8.hard_swish, Function.LOG: map_s8.log,
    Function.RSQRT: map_s8.inverse_square_root, Function.SQRT: map_s8.square_root,
}  # fmt: skip
OF_INT8 = (*TABULATED, *_OF_BYTES)
"""Functions with an int8 form."""


@dataclass(frozen=True, slots=True)
class Map(Op):
    """Operand x, float32; int8 for the functions of `OF_INT8`, with scales of their own on both sides."""

    name: ClassVar[str] = "map"
    function: Function

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        x = check_unary(self, inputs, only(outputs))
        has_form = x.dtype.is_float or (x.dtype is DType.INT8 and self.function in OF_INT8)
        self.expect(has_form, f"{self.function.value} of {x.dtype.value}", "float32")
        if x.dtype is DType.INT8 and self.function is Function.HARD_SWISH:
            self.expect(map_s8.can_hard_swish(x, only(outputs)), "a result of much finer scale", "one of 1/128 or more")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        (x,) = arrays
        assert x is not None and inputs[0] is not None
        if inputs[0].dtype.is_float:
            return (apply(self.function, x),)
        if self.function in _OF_BYTES:
            return (_OF_BYTES[self.function](x, inputs[0], only(outputs)),)
        return (tabulated(lambda real: apply(self.function, real), x, inputs[0], only(outputs)),)


def apply(function: Function, x: np.ndarray) -> np.ndarray:
    """The function of float32 values: correctly rounded, from float64."""
    with np.errstate(all="ignore"):
        return _in_float64(function, x.astype(np.float64)).astype(np.float32)


def _in_float64(function: Function, x: np.ndarray) -> np.ndarray:
    simple = {
        Function.ABS: np.abs, Function.ATAN: np.arctan, Function.CEIL: np.ceil, Function.COS: np.cos,
        Function.EXP: np.exp, Function.FLOOR: np.floor, Function.LOG: np.log, Function.NEG: np.negative,
        Function.RECIPROCAL: np.reciprocal,
        Function.ROUND: np.rint, Function.SIGN: np.sign, Function.SIN: np.sin, Function.SQRT: np.sqrt,
        Function.SQUARE: np.square, Function.TRUNC: np.trunc,
    }.get(function)  # fmt: skip
    if simple is not None:
        return simple(x)
    if function is Function.RSQRT:
        return 1.0 / np.sqrt(x)
    if function is Function.ELU:
        return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)
    if function is Function.HARD_SWISH:
        return x * np.clip(x + 3, 0, 6) / 6
    if function is Function.ERF:
        return _erf(x)
    if function is Function.GELU:
        return 0.5 * x * (1 + _erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


_erf = np.vectorize(math.erf, otypes=[np.float64])

_POSITIVE = (Function.LOG, Function.RSQRT, Function.SQRT, Function.RECIPROCAL)


def _case(label: str, function: Function, shape: tuple[int, ...], dtype: DType = DType.FLOAT32) -> Case:
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        if dtype is DType.FLOAT32:
            return [("x", floats(shape), None)], floats(shape)
        output_scale = {Function.EXP: 0.2}.get(function, 0.03)
        x = quantized(shape, scale_of(rng, 0.03), -128 if function in _POSITIVE else -9)
        return [("x", x, None)], quantized(shape, scale_of(rng, output_scale), -100)

    return case(label, Map(function), make)


CASES: tuple[Case, ...] = (
    *(_case(function.value, function, (1, 3, 5)) for function in Function if function not in _POSITIVE),
    *(_case(f"{function.value}_s8", function, (1, 3, 5, 7), DType.INT8) for function in OF_INT8),
)
"""Functions that are defined for positive numbers only are tested in tests/test_kernels_edges.py."""
