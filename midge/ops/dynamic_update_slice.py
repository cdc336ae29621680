"""A part of a tensor replaced, at a place that varies (docs/numerics.md, "Data movement")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ops.base import Case, Op, Types
from midge.ops.cases import Operand, case, floats, quantized, scale_of
from midge.ops.windows import only

INDICES = (DType.INT32, DType.INT64)


@dataclass(frozen=True, slots=True)
class DynamicUpdateSlice(Op):
    """Operands x, update (of x's type but for the shape) and start (int32 or int64, one for each axis).

    The result is x with the update written over it from `start` on; start is clamped so that it lies inside.
    """

    name: ClassVar[str] = "dynamic_update_slice"

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        output = only(outputs)
        self.expect(len(inputs) == 3 and None not in inputs, f"{len(inputs)} operands", "three")
        x, update, start = inputs
        assert x is not None and update is not None and start is not None
        kinds = {(type_.dtype, type_.quantization) for type_ in (x, update, output)}
        self.expect(len(kinds) == 1 and output.shape == x.shape, f"{update} into {x} for {output}", "one type")
        fits = len(update.shape) == len(x.shape) and all(a <= b for a, b in zip(update.shape, x.shape, strict=True))
        self.expect(fits, f"an update {list(update.shape)} of {list(x.shape)}", "a part of the tensor")
        self.expect(start.dtype in INDICES and start.shape == (len(x.shape),), f"a place {start}",
                    f"{len(x.shape)} integers")  # fmt: skip

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, update, start = arrays
        assert x is not None and update is not None and start is not None
        first = np.clip(start, 0, np.array(x.shape) - np.array(update.shape))
        result = x.copy()
        result[tuple(slice(at, at + size) for at, size in zip(first.tolist(), update.shape, strict=True))] = update
        return (result,)


def _case(label: str, shape: tuple[int, ...], part: tuple[int, ...], *, at: tuple[int, ...] | None = None,
          dtype: DType = DType.INT8, index: DType = DType.INT32) -> Case:  # fmt: skip
    """Random places are mostly outside of x."""

    def make(rng: np.random.Generator) -> tuple[list[Operand | None], TensorType]:
        scale = scale_of(rng, 0.1)
        whole, update = (quantized(size, scale, -7) if dtype is DType.INT8 else floats(size) for size in (shape, part))
        start = None if at is None else np.array(at, index.numpy)
        place = ("start", TensorType(index, (len(shape),)), start)
        return [("x", whole, None), ("update", update, None), place], whole

    return case(label, DynamicUpdateSlice(), make)


CASES: tuple[Case, ...] = (
    _case("rows", (1, 6, 4, 3), (1, 2, 4, 3)),
    _case("rows_at", (1, 6, 4, 3), (1, 2, 4, 3), at=(0, 3, 0, 0)),
    _case("inner", (1, 6, 5, 4), (1, 3, 2, 3), at=(0, 2, 1, 1)),
    _case("inner_varies", (1, 6, 5, 4), (1, 3, 2, 3)),
    _case("cache", (1, 8, 16), (1, 1, 16)),
    _case("vector", (1, 9), (1, 4), at=(0, 3)),
    _case("past_the_end", (1, 9), (1, 4), at=(0, 8)),
    _case("batches", (3, 4, 5), (2, 2, 2), at=(1, 1, 2)),
    _case("float", (1, 6, 5, 4), (1, 3, 2, 3), at=(0, 2, 1, 1), dtype=DType.FLOAT32),
    _case("long_index", (1, 6, 5, 4), (1, 3, 2, 3), at=(0, 2, 1, 1), index=DType.INT64),
)
