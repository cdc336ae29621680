"""What operators of one int8 value share: the 256-byte table, the type rule and the test table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types, is_activation
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import round_half_away


def int8_table(op: Op, x: TensorType, output: TensorType) -> np.ndarray:
    """The operator's 256 results for the inputs -128, -127 … 127, in this order."""
    flat_x = TensorType(x.dtype, (256,), x.quantization)
    flat_y = TensorType(output.dtype, (256,), output.quantization)
    (table,) = op.evaluate([np.arange(-128, 128).astype(np.int8)], [flat_x], [flat_y])
    return table


def check_unary(op: Op, inputs: Types, output: TensorType) -> TensorType:
    """The type rule: int8 or int16 on both sides with own scales, or float32 on both; same shape.

    Returns the input's type.
    """
    op.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
    x = inputs[0]
    assert x is not None
    op.expect(output.shape == x.shape, f"an output of shape {list(output.shape)}", f"{list(x.shape)}")
    op.expect(output.dtype is x.dtype, f"types {x.dtype.value} and {output.dtype.value}", "one type")
    op.expect(x.dtype is DType.FLOAT32 or (is_activation(x) and is_activation(output)),
              f"an input of type {x.dtype.value}", "float32, int8 with one scale, or int16 with zero point 0"
              )  # fmt: skip
    return x


def tabulated(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, x_type: TensorType, output: TensorType
              ) -> np.ndarray:  # fmt: skip
    """A real function on int8 values: float32 arithmetic round the function, result rounded and clamped."""
    assert x_type.quantization is not None and output.quantization is not None
    inverse_scale = np.float32(1.0) / np.float32(output.quantization.scale)
    real = np.float32(x_type.quantization.scale) * (x.astype(np.int32) - x_type.zero_point).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is clamped
        rescaled = round_half_away(function(real).astype(np.float32) * inverse_scale)
    return np.clip(rescaled + np.float32(output.zero_point), -128, 127).astype(np.int8)


def unary_cases(make_op: Callable[[], Op], output_scale: float, output_zero_point: int) -> tuple[Case, ...]:
    """The test table of a function whose result has a fixed scale and zero point."""

    def row(label: str, shape: tuple[int, ...], scale: float = 0.05, zero_point: int = 3,
            dtype: DType = DType.INT8, is_exact: bool = False) -> Case:  # fmt: skip
        def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
            if dtype is DType.FLOAT32:
                return [("x", floats(shape), None)], floats(shape)
            if dtype is DType.INT16:
                x = quantized(shape, scale if is_exact else scale_of(rng, scale), 0, dtype)
                return [("x", x, None)], quantized(shape, 1 / 32768, 0, dtype)
            x = quantized(shape, scale_of(rng, scale), zero_point)
            return [("x", x, None)], quantized(shape, output_scale, output_zero_point)

        return case(label, make_op(), make)

    return (
        row("c1", (1, 1)),
        row("row", (1, 9)),
        row("image", (1, 4, 5, 7)),
        row("large", (1, 2, 8, 33)),
        row("small_scale", (1, 64), scale=0.004),
        row("large_scale", (1, 64), scale=0.4),
        row("zero_point_low", (1, 3, 8), zero_point=-128),
        row("zero_point_high", (1, 3, 8), zero_point=127),
        row("s16", (1, 2, 8, 33), scale=2e-4, dtype=DType.INT16),
        row("s16_large_scale", (1, 64), scale=0.003, dtype=DType.INT16),
        row("s16_power_of_two", (1, 2, 8, 33), scale=2.0**-12, dtype=DType.INT16, is_exact=True),
        row("s16_two_powers", (1, 2, 8, 33), scale=2.0**-11, dtype=DType.INT16, is_exact=True),
        row("float", (1, 3, 5), dtype=DType.FLOAT32),
    )
