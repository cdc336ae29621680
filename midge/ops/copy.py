"""Copy: the same values in another place (made by the planner where one buffer can't serve two readers)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Case, Op, Types


@dataclass(frozen=True, slots=True)
class Copy(Op):
    """`y = x`; the result has the operand's type."""

    name: ClassVar[str] = "copy"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        self.expect(len(inputs) == 1 and inputs[0] is not None, f"{len(inputs)} operands", "one")
        self.expect(inputs[0] == outputs[0], f"{inputs[0]} -> {outputs[0]}", "the same type on both sides")

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        del inputs, outputs
        assert arrays[0] is not None
        return (arrays[0].copy(),)


def _case(name: str, type_: TensorType) -> Case:
    def build(rng: np.random.Generator) -> Graph:
        del rng
        builder = GraphBuilder(name)
        builder.inputs.append(builder.value("x", type_))
        builder.outputs.append(builder.value("y", type_))
        builder.node(Copy(), ["x"], ["y"])
        return builder.build()

    return Case(name, build)


_QUANTIZATION = Quantization((0.5,), (3,), None)
CASES = (
    _case("copy_s8_rows", TensorType(DType.INT8, (1, 3, 5, 7), _QUANTIZATION)),
    _case("copy_s8_long_rows", TensorType(DType.INT8, (1, 2, 9, 9), _QUANTIZATION)),
    _case("copy_s8_lowest_zero_point", TensorType(DType.INT8, (1, 2, 6, 8), Quantization((0.5,), (-128,), None))),
    _case("copy_s8_vector", TensorType(DType.INT8, (1, 9), _QUANTIZATION)),
    _case("copy_f32_rows", TensorType(DType.FLOAT32, (1, 2, 3, 4))),
)
