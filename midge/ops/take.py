"""Elements by a table of positions (docs/numerics.md, "Data movement")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only


@dataclass(frozen=True, slots=True)
class Take(Op):
    """Operands x and constant positions (int32, of the result's shape): element i of the result is x[positions[i]].

    Positions count x's elements as one array. For orders that no few loops make; those are `rearrange`.
    """

    name: ClassVar[str] = "take"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 2 and None not in inputs, f"{len(inputs)} operands", "two")
        x, positions = inputs
        assert x is not None and positions is not None
        self.expect(positions.dtype is DType.INT32, f"positions of type {positions.dtype.value}", "int32")
        self.expect(output.shape == positions.shape, f"an output of shape {list(output.shape)}",
                    f"{list(positions.shape)}")  # fmt: skip
        self.expect((x.dtype, x.quantization) == (output.dtype, output.quantization), "another type or quantisation",
                    "the input's")  # fmt: skip

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, positions = arrays
        assert x is not None and positions is not None
        return (x.reshape(-1)[positions],)


def _case(label: str, source: tuple[int, ...], shape: tuple[int, ...], dtype: DType = DType.INT8) -> Case:
    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        size = int(np.prod(source))
        positions = rng.integers(0, size, shape, np.int32)
        table = ("positions", TensorType(DType.INT32, shape), positions)
        if dtype is DType.FLOAT32:
            return [("x", floats(source), None), table], floats(shape)
        scale = scale_of(rng, 0.1)
        return [("x", quantized(source, scale, -7, dtype), None), table], quantized(shape, scale, -7, dtype)

    return case(label, Take(), make)


CASES: tuple[Case, ...] = (
    _case("vector", (1, 9), (1, 7)),
    _case("rows", (1, 3, 4, 5), (1, 4, 3, 5)),
    _case("larger", (1, 3, 2, 2), (1, 6, 4, 2)),
    _case("to_one", (1, 3, 2, 2), (1, 1)),
    _case("many", (1, 180, 182), (1, 3, 5)),
    _case("float", (1, 3, 4, 5), (1, 5, 3, 4), DType.FLOAT32),
    _case("int16", (1, 3, 4, 5), (1, 5, 3, 4), DType.INT16),
)
