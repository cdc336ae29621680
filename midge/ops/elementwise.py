"""What addition, subtraction and multiplication share: broadcasting, the type rule, parameters, the test table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Rounding, Types, is_activation
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier

SUM_LEFT_SHIFTS = {DType.INT8: 20, DType.INT16: 15}
"""Bits by which addends are shifted left before they are scaled."""


@dataclass(frozen=True, slots=True)
class SumParameters:
    """Integers of a quantised sum or difference (docs/numerics.md, "Addition and subtraction"); DOUBLE rounding.

    Shifts are left positive, so here 0 or negative.
    """

    left_shift: int
    a_multiplier_q31: int
    a_shift: int
    b_multiplier_q31: int
    b_shift: int
    output_multiplier_q31: int
    output_shift: int


def sum_parameters(a: TensorType, b: TensorType, output: TensorType) -> SumParameters:
    """The scales of both addends against twice the larger one; products with float32 operands as LiteRT forms them."""
    assert a.quantization is not None and b.quantization is not None and output.quantization is not None
    twice_largest = 2.0 * max(a.quantization.scale, b.quantization.scale)
    left_shift = SUM_LEFT_SHIFTS[a.dtype]
    output_real = twice_largest / ((1 << left_shift) * output.quantization.scale)
    return SumParameters(
        left_shift,
        *quantize_multiplier(a.quantization.scale / twice_largest),
        *quantize_multiplier(b.quantization.scale / twice_largest),
        *quantize_multiplier(output_real),
    )


def scaled_addends(
    a: np.ndarray, b: np.ndarray, inputs: Types, parameters: SumParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Both addends without their zero points, in the common scale."""
    assert inputs[0] is not None and inputs[1] is not None
    left_a = (a.astype(np.int64) - inputs[0].zero_point) << parameters.left_shift
    left_b = (b.astype(np.int64) - inputs[1].zero_point) << parameters.left_shift
    return (
        multiply_by_quantized_multiplier(left_a, parameters.a_multiplier_q31, parameters.a_shift, Rounding.DOUBLE),
        multiply_by_quantized_multiplier(left_b, parameters.b_multiplier_q31, parameters.b_shift, Rounding.DOUBLE),
    )


def scaled_sum(total: np.ndarray, parameters: SumParameters, output: TensorType) -> np.ndarray:
    """A sum in the common scale, in the output's scale and with its zero point, not yet clamped."""
    scaled = multiply_by_quantized_multiplier(
        total, parameters.output_multiplier_q31, parameters.output_shift, Rounding.DOUBLE
    )
    return scaled + output.zero_point


def check_elementwise(op: Op, inputs: Types, output: TensorType) -> None:
    """The type rule: int8 or int16 with own scales, or float32; the result has the broadcast shape."""
    op.expect(len(inputs) == 2 and None not in inputs, f"{len(inputs)} operands", "two")
    a, b = inputs
    assert a is not None and b is not None
    if a.dtype is DType.FLOAT32:
        op.expect(b.dtype is DType.FLOAT32 and output.dtype is DType.FLOAT32, "one float32 operand", "all float32")
    else:
        op.expect(all(is_activation(type_) and type_.dtype is a.dtype for type_ in (a, b, output)),
                  f"types {a.dtype.value}, {b.dtype.value} and {output.dtype.value}",
                  "float32, int8 with one scale each, or int16 with zero point 0")  # fmt: skip
    expect_broadcast(op, (a, b), output)


def expect_broadcast(op: Op, operands: Sequence[TensorType], output: TensorType) -> None:
    """Guard: the operands broadcast to the result's shape."""
    try:
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
    except ValueError:
        shape = None
    found = " and ".join(str(list(operand.shape)) for operand in operands)
    op.expect(
        shape == output.shape, f"shapes {found} for {list(output.shape)}", "operands that broadcast to the result"
    )


def check_sum(op: Op, inputs: Types, output: TensorType) -> None:
    """The type rule of sums: as above, and an output scale that is not absurdly small."""
    check_elementwise(op, inputs, output)
    a, b = inputs
    assert a is not None and b is not None
    if a.dtype is DType.FLOAT32:
        return
    parameters = sum_parameters(a, b, output)
    op.expect(
        parameters.output_shift <= 0, "an output scale a million times smaller than the inputs'", "similar scales"
    )


def elementwise_cases(make_op: Callable[[Activation], Op], output_scale: Callable[[float, float], float]
                      ) -> tuple[Case, ...]:  # fmt: skip
    """The test table; output_scale gives a result scale for two operand scales."""

    def row(label: str, a_shape: Sequence[int], b_shape: Sequence[int], *, activation: Activation = Activation.NONE,
            zero_points: tuple[int, int, int] = (3, -7, -5), constant: str = "", dtype: DType = DType.INT8,
            ratio: float = 1.3) -> Case:  # fmt: skip
        y_shape = np.broadcast_shapes(tuple(a_shape), tuple(b_shape))

        def operand(rng: np.random.Generator, name: str, type_: TensorType) -> Operand:
            if name != constant:
                return name, type_, None
            if type_.dtype.is_float:
                return name, type_, rng.standard_normal(type_.shape).astype(np.float32)
            return name, type_, rng.integers(*dtype.limits, type_.shape, dtype.numpy, endpoint=True)

        def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
            if dtype is DType.FLOAT32:
                operands = [operand(rng, "a", floats(a_shape)), operand(rng, "b", floats(b_shape))]
                return list(operands), floats(y_shape)
            finer = 256 if dtype is DType.INT16 else 1
            a_scale = scale_of(rng, 0.05)
            b_scale = scale_of(rng, 0.05 * ratio)
            a = operand(rng, "a", quantized(a_shape, a_scale / finer, zero_points[0], dtype))
            b = operand(rng, "b", quantized(b_shape, b_scale / finer, zero_points[1], dtype))
            return [a, b], quantized(y_shape, output_scale(a_scale, b_scale) / finer, zero_points[2], dtype)

        return case(label, make_op(activation), make)

    relu, relu6, clamp1 = Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1
    return (
        *(row(f"c{c}_w{w}", (1, 2, w, c), (1, 2, w, c)) for c, w in ((1, 8), (3, 5), (4, 2), (7, 1), (8, 8), (9, 3))),
        row("vector", (1, 13), (1, 13)),
        row("channels", (1, 3, 4, 5), (5,)),
        row("channels_first", (4,), (1, 3, 2, 4)),
        row("pixel", (1, 3, 4, 8), (1, 1, 1, 8)),
        row("rows", (1, 3, 4, 2), (1, 3, 1, 1)),
        row("constant", (1, 3, 4, 8), (1, 3, 4, 8), constant="b"),
        row("constant_channels", (1, 3, 4, 7), (7,), constant="b"),
        row("constant_scalar", (1, 2, 3, 4), (1,), constant="b"),
        row("constant_first", (1,), (1, 2, 3, 4), constant="a"),
        row("scales_far_apart", (1, 4, 9), (1, 4, 9), ratio=37.0),
        row("zero_points_high", (1, 2, 5, 4), (1, 2, 5, 4), zero_points=(127, -128, 127)),
        row("zero_points_low", (1, 2, 5, 4), (1, 2, 5, 4), zero_points=(-128, -128, -128)),
        row("zero_points_mixed", (1, 2, 5, 4), (1, 2, 5, 4), zero_points=(-128, 127, 0)),
        row("relu", (1, 2, 5, 4), (1, 2, 5, 4), activation=relu, zero_points=(0, 5, -128)),
        row("relu6", (1, 2, 5, 4), (1, 2, 5, 4), activation=relu6, zero_points=(0, 5, -128)),
        row("relu_n1_to_1", (1, 2, 5, 4), (1, 2, 5, 4), activation=clamp1, zero_points=(0, 5, 0)),
        row("s16", (1, 2, 3, 5), (1, 2, 3, 5), dtype=DType.INT16, zero_points=(0, 0, 0)),
        row("s16_channels_relu", (1, 3, 4, 5), (5,), dtype=DType.INT16, zero_points=(0, 0, 0), activation=relu),
        row("s16_constant", (1, 9), (1, 9), dtype=DType.INT16, zero_points=(0, 0, 0), constant="b", ratio=37.0),
        row("float", (1, 2, 3, 5), (1, 2, 3, 5), dtype=DType.FLOAT32),
        row("float_constant_relu", (1, 2, 3, 4), (4,), constant="b", activation=relu, dtype=DType.FLOAT32),
        row("float_rows_relu6", (1, 3, 2, 4), (1, 3, 1, 1), activation=relu6, dtype=DType.FLOAT32),
    )  # fmt: skip
