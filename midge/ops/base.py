"""What every operator states: attributes, type rule, NumPy reference, MAC count, test cases."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midge.errors import ModelError
from midge.ir.types import DType, TensorType

if TYPE_CHECKING:
    from midge.ir.graph import Graph

Types = Sequence[TensorType | None]


class Activation(enum.Enum):
    """A fused activation: the clamp that is applied to an operator's result."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_TO_1 = "relu_n1_to_1"

    @property
    def real_bounds(self) -> tuple[float, float]:
        return _REAL_BOUNDS[self]


_INFINITY = float("inf")
_REAL_BOUNDS = {
    Activation.NONE: (-_INFINITY, _INFINITY), Activation.RELU: (0.0, _INFINITY),
    Activation.RELU6: (0.0, 6.0), Activation.RELU_N1_TO_1: (-1.0, 1.0),
}  # fmt: skip


class Rounding(enum.Enum):
    """How an accumulator is scaled back to the output type (docs/numerics.md).

    SINGLE rounds once, after the whole multiplication; DOUBLE rounds after the doubling high multiply and
    again after the right shift. REDUCED rounds once too, but by a multiplier of 16 bits, so that accumulators of 48
    bits do not overflow: layers of int16 with biases of 64 bits.
    """

    SINGLE = "single"
    DOUBLE = "double"
    REDUCED = "reduced"


@dataclass(frozen=True, slots=True)
class Padding:
    """Explicit padding, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, slots=True)
class Case:
    """One row of an operator's test table: `build` makes a one-operator graph from a seeded generator."""

    name: str
    build: Callable[[np.random.Generator], Graph]


class Op(ABC):
    """Base of all operators. Subclasses are frozen, slotted dataclasses whose fields are the attributes."""

    __slots__ = ()
    name: ClassVar[str]

    @abstractmethod
    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        """Type rule: raise ModelError where operand or result types break the operator's rules."""

    @abstractmethod
    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        """The NumPy reference (docs/numerics.md): arrays in, arrays of the output types out."""

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        """Multiply-accumulates for one inference; 0 for operators without products."""
        del inputs, outputs
        return 0

    def expect(self, condition: bool, found: str, expected: str) -> None:
        """Guard for `check`."""
        if not condition:
            raise ModelError(self.name, found, expected)


def quantized_bounds(activation: Activation, output: TensorType) -> tuple[int, int]:
    """The clamp of a fused activation in the output's integers (docs/numerics.md, "Fused activations")."""
    low, high = output.dtype.limits
    quantization = output.quantization
    assert quantization is not None
    scale, zero_point = np.float32(quantization.scale), quantization.zero_point

    def quantize(real: float) -> int:
        return zero_point + int(round_half_away(np.float32(real) / scale))

    real_low, real_high = activation.real_bounds
    if real_low != -_INFINITY:
        low = max(low, quantize(real_low))
    if real_high != _INFINITY:
        high = min(high, quantize(real_high))
    return low, high


def round_half_away(x: float | np.floating) -> float:
    """C's round(): to nearest, halves away from zero."""
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return float(np.copysign(whole + (magnitude - whole >= 0.5), x))


def is_activation(type_: TensorType | None) -> bool:
    """True for what activations of integer layers can be: int8 with one scale, or int16 with zero point 0."""
    return is_quantized(type_) or (is_quantized(type_, DType.INT16) and type_ is not None and type_.zero_point == 0)


def is_quantized(type_: TensorType | None, *dtypes: DType) -> bool:
    """True where the type is one of dtypes (int8 if none are named) with a per-tensor quantisation."""
    return (
        type_ is not None
        and type_.dtype in (dtypes or (DType.INT8,))
        and type_.quantization is not None
        and type_.quantization.axis is None
    )
