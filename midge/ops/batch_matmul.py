"""Products of matrices that both may vary (docs/numerics.md, "Products of matrices")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Rounding, Types, is_quantized
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from midge.ops.windows import only

_MOST_TERMS = 33025
"""Products of two numbers of magnitude 255 whose sum stays within 32 bits."""


@dataclass(frozen=True, slots=True)
class BatchMatmul(Op):
    """Operands a [..., M, K] and b [..., K, N], the dimensions before them broadcast; result [..., M, N].

    `transpose_a`: a is [..., K, M]; `transpose_b`: b is [..., N, K]. float32, or int8 with scales and zero points of
    their own; rounding is DOUBLE.
    """

    name: ClassVar[str] = "batch_matmul"
    transpose_a: bool
    transpose_b: bool

    def sizes(self, a: TensorType, b: TensorType) -> tuple[int, int, int]:
        """M, K, N."""
        rows, terms = a.shape[-2:][::-1] if self.transpose_a else a.shape[-2:]
        columns = b.shape[-2] if self.transpose_b else b.shape[-1]
        return rows, terms, columns

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 2 and None not in inputs, f"{len(inputs)} operands", "two")
        a, b = inputs
        assert a is not None and b is not None
        self.expect(min(len(a.shape), len(b.shape)) >= 2, f"shapes {list(a.shape)} and {list(b.shape)}", "matrices")
        rows, terms, columns = self.sizes(a, b)
        self.expect(terms == (b.shape[-1] if self.transpose_b else b.shape[-2]),
                    f"shapes {list(a.shape)} and {list(b.shape)}", "as many columns as rows")  # fmt: skip
        try:
            shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns)
        except ValueError:
            shape = None
        self.expect(output.shape == shape, f"a result of shape {list(output.shape)} of {list(a.shape)} and "
                    f"{list(b.shape)}", "matrices that broadcast to the result's")  # fmt: skip
        types = (a, b, output)
        if a.dtype is DType.FLOAT32:
            self.expect(all(type_.dtype is DType.FLOAT32 for type_ in types), "one float32 operand", "all float32")
            return
        self.expect(all(is_quantized(type_) for type_ in types), f"types {a.dtype.value} and {b.dtype.value}",
                    "float32, or int8 with one scale each")  # fmt: skip
        self.expect(terms <= _MOST_TERMS, f"sums of {terms} products", f"at most {_MOST_TERMS}")

    def requantization(self, a: TensorType, b: TensorType, output: TensorType) -> tuple[int, int]:
        """Q31 multiplier and shift (left positive): the product of the scales in float32, then float64."""
        assert a.quantization is not None and b.quantization is not None and output.quantization is not None
        product = np.float32(a.quantization.scale) * np.float32(b.quantization.scale)
        return quantize_multiplier(float(product) / output.quantization.scale)

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        a, b = arrays
        assert a is not None and b is not None and inputs[0] is not None and inputs[1] is not None
        output = only(outputs)
        a, b = (a.swapaxes(-1, -2) if self.transpose_a else a), (b.swapaxes(-1, -2) if self.transpose_b else b)
        if output.dtype.is_float:
            total = np.zeros(output.shape, np.float32)
            for term in range(a.shape[-1]):  # one product after the other, each sum rounded
                total += a[..., term, None] * b[..., term, None, :]
            return (total,)
        total = (a.astype(np.int64) - inputs[0].zero_point) @ (b.astype(np.int64) - inputs[1].zero_point)
        multiplier, shift = self.requantization(inputs[0], inputs[1], output)
        scaled = multiply_by_quantized_multiplier(total, multiplier, shift, Rounding.DOUBLE)
        return (np.clip(scaled + output.zero_point, -128, 127).astype(np.int8),)

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        a, b = inputs
        assert a is not None and b is not None
        return only(outputs).elements * self.sizes(a, b)[1]


def _case(label: str, a: tuple[int, ...], b: tuple[int, ...], *, flips: tuple[bool, bool] = (False, False),
          zero_points: tuple[int, int, int] = (3, -7, 5), constant: str = "", dtype: DType = DType.INT8
          ) -> Case:  # fmt: skip
    op = BatchMatmul(*flips)

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        rows, terms, columns = op.sizes(floats(a), floats(b))
        shape = (*np.broadcast_shapes(a[:-2], b[:-2]), rows, columns)

        def operand(name: str, type_: TensorType) -> Operand:
            if name != constant:
                return name, type_, None
            is_float = type_.dtype.is_float
            data = rng.standard_normal(type_.shape) if is_float else rng.integers(-128, 128, type_.shape)
            return name, type_, data.astype(type_.dtype.numpy)

        if dtype is DType.FLOAT32:
            return [operand("a", floats(a)), operand("b", floats(b))], floats(shape)
        scales = scale_of(rng, 0.05), scale_of(rng, 0.03)
        y_scale = scale_of(rng, scales[0] * scales[1] * 74 * 74 * terms**0.5 / 60)
        operands = [operand("a", quantized(a, scales[0], zero_points[0])),
                    operand("b", quantized(b, scales[1], zero_points[1]))]  # fmt: skip
        return list(operands), quantized(shape, y_scale, zero_points[2])

    return case(label, op, make)


CASES: tuple[Case, ...] = (
    _case("matrices", (1, 3, 5), (1, 5, 4)),
    _case("rank_2", (3, 5), (5, 4)),
    _case("heads", (1, 3, 4, 5), (1, 3, 5, 7)),
    _case("scores", (1, 2, 6, 8), (1, 2, 6, 8), flips=(False, True)),
    _case("flip_a", (1, 5, 3), (1, 5, 4), flips=(True, False)),
    _case("flip_both", (1, 2, 5, 3), (1, 2, 4, 5), flips=(True, True)),
    _case("one_column", (1, 6, 9), (1, 9, 1)),
    _case("one_row", (1, 1, 9), (1, 9, 4)),
    _case("shared_b", (1, 3, 4, 5), (5, 6)),
    _case("shared_heads", (1, 3, 4, 5), (1, 1, 5, 6)),
    _case("shared_a", (4, 5), (1, 3, 5, 6)),
    _case("rank_5", (1, 2, 3, 4, 5), (1, 2, 1, 5, 3)),
    _case("batches", (3, 4, 5), (3, 5, 2)),
    _case("constant_b", (1, 3, 5), (1, 5, 4), constant="b"),
    _case("constant_a", (3, 5), (1, 2, 5, 4), constant="a"),
    _case("zero_points_low", (1, 3, 40), (1, 40, 4), zero_points=(-128, -128, -128)),
    _case("zero_points_high", (1, 3, 40), (1, 40, 4), zero_points=(127, 127, 127)),
    _case("float", (1, 3, 4, 5), (1, 3, 5, 7), dtype=DType.FLOAT32),
    _case("float_flip_both", (1, 5, 3), (1, 4, 5), flips=(True, True), dtype=DType.FLOAT32),
    _case("float_constant", (1, 3, 5), (5, 4), constant="b", dtype=DType.FLOAT32),
)
