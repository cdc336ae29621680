"""Long short-term memory over a sequence (docs/numerics.md, "LSTM")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, TensorType
from midge.ops import fixed_point_s16 as s16
from midge.ops.base import Case, Op, Rounding, Types, is_quantized
from midge.ops.cases import floats, quantized
from midge.ops.fixed_point import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
)

GATES = ("input", "forget", "cell", "output")
_ONE_Q3_12 = np.float32(2.0**-12)
"""The scale of a gate before its activation."""


@dataclass(frozen=True, slots=True)
class Lstm(Op):
    """Operands x [1, T, I], weights of the four gates [O, I], their recurrent weights [O, O], their biases [O], and
    what states hold: the last output [1, O] and the cells [1, O]. Results: outputs [1, T, O], last output, cells.

    float32; or int8 with int16 cells whose scale is a power of two. `hidden_scale` and `hidden_zero_point` are the
    outputs' in the int8 form (0.0 and 0 for float32). `cell_clip` bounds the cells where it is positive.
    """

    name: ClassVar[str] = "lstm"
    hidden_scale: float
    hidden_zero_point: int
    cell_clip: float

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        self.expect(len(inputs) == 15 and None not in inputs, f"{len(inputs)} operands", "15")
        self.expect(len(outputs) == 3, f"{len(outputs)} results", "three")
        x, *others = (type_ for type_ in inputs if type_ is not None)
        weights, recurrent, biases, (held, cells) = others[:4], others[4:8], others[8:12], others[12:]
        self.expect(len(x.shape) == 3 and x.shape[0] == 1, f"an input of shape {list(x.shape)}", "[1, T, I]")
        width = weights[0].shape[0]
        shapes = [(width, x.shape[2])] * 4 + [(width, width)] * 4 + [(width,)] * 4 + [(1, width)] * 2
        found = [type_.shape for type_ in others]
        self.expect(found == shapes, f"operands of shapes {found}", f"{shapes}")
        results = [type_.shape for type_ in outputs]
        self.expect(results == [(1, x.shape[1], width), (1, width), (1, width)], f"results of shapes {results}",
                    f"{width} values for each step")  # fmt: skip
        self.expect(list(outputs[1:]) == [held, cells], "states of other types", "the operands'")
        if x.dtype is DType.FLOAT32:
            self.expect(all(type_.dtype is DType.FLOAT32 for type_ in (*others, *outputs)), "mixed types", "float32")
            return
        bytes_ = (x, *weights, *recurrent, held, outputs[0])
        self.expect(all(is_quantized(type_) for type_ in bytes_), "operands that are not int8", "int8 with one scale")
        self.expect(all(type_.dtype is DType.INT32 for type_ in biases), "biases of another type", "int32")
        self.expect(is_quantized(cells, DType.INT16) and cells.zero_point == 0, "cells of another type", "int16")
        self.expect(-15 <= cell_exponent(cells) <= -9 and np.ldexp(1.0, cell_exponent(cells)) == _scale(cells),
                    f"cells with the scale {_scale(cells)}", "a power of two, 2^-15 to 2^-9")  # fmt: skip
        self.expect(not any(type_.zero_point for type_ in (*weights, *recurrent)), "weights with a zero point", "0")
        self.expect(held == TensorType(DType.INT8, (1, width), outputs[0].quantization), "a last output of another "
                    "type", "the outputs'")  # fmt: skip

    def multipliers(self, inputs: Types) -> list[tuple[int, int]]:
        """Q31 multipliers and shifts: of the four gates' weights, of their recurrent weights, and of the output."""
        pairs = [(inputs[0], weights) for weights in inputs[1:5]] + [(inputs[13], weights) for weights in inputs[5:9]]
        scales = [np.float32(_scale(b)) * np.float32(_scale(a)) / _ONE_Q3_12 for a, b in pairs]
        hidden = np.float32(2.0**-15) / np.float32(self.hidden_scale) * np.float32(2.0**-15)
        return [quantize_multiplier(float(scale)) for scale in (*scales, hidden)]

    def clip_bound(self, cells: TensorType) -> int:
        """The bound of the cells as an integer; 0 where there is none."""
        if self.cell_clip <= 0:
            return 0
        return int(min(max(self.cell_clip / np.float32(_scale(cells)), -32768.0), 32767.0))

    def biases(self, arrays: Sequence[np.ndarray | None], inputs: Types) -> list[np.ndarray]:
        """int64 [O] each: start values of the eight products, zero points folded in."""
        starts = []
        for position in range(1, 9):
            weights, operand = arrays[position], inputs[0 if position < 5 else 13]
            assert weights is not None and operand is not None
            start = -operand.zero_point * weights.sum(1, dtype=np.int64)
            bias = arrays[position + 8] if position < 5 else None
            starts.append(start if bias is None else start + bias)
        return starts

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, held, cells = arrays[0], arrays[13], arrays[14]
        assert x is not None and held is not None and cells is not None
        step = self._step_f32 if outputs[0].dtype.is_float else self._step_s8
        made = []
        for row in x[0]:
            held, cells = step(row, held, cells, arrays, inputs)
            made.append(held[0])
        return np.stack(made)[None], held, cells

    def _step_f32(self, row: np.ndarray, held: np.ndarray, cells: np.ndarray, arrays: Sequence[np.ndarray | None],
                  inputs: Types) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        del inputs
        sums = [arrays[1 + g] @ row + arrays[5 + g] @ held[0] + arrays[9 + g] for g in range(4)]  # type: ignore[operator]
        with np.errstate(over="ignore"):
            i, f, o = (1 / (1 + np.exp(-sums[g])) for g in (0, 1, 3))
        new = f * cells[0] + i * np.tanh(sums[2])
        new = np.clip(new, -self.cell_clip, self.cell_clip) if self.cell_clip > 0 else new
        return (o * np.tanh(new)).astype(np.float32)[None], new.astype(np.float32)[None]

    def _step_s8(self, row: np.ndarray, held: np.ndarray, cells: np.ndarray, arrays: Sequence[np.ndarray | None],
                 inputs: Types) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        assert inputs[14] is not None
        multipliers, starts, exponent = self.multipliers(inputs), self.biases(arrays, inputs), cell_exponent(inputs[14])
        gates = []
        for gate in range(4):
            total = np.zeros(len(starts[0]), np.int64)
            for position, operand in ((gate, row), (gate + 4, held[0])):
                weights = arrays[position + 1]
                assert weights is not None
                acc = starts[position] + weights.astype(np.int64) @ operand.astype(np.int64)
                total = _int16(multiply_by_quantized_multiplier(acc, *multipliers[position], Rounding.DOUBLE) + total)
            gates.append(s16.tanh(total, 3) if gate == 2 else s16.sigmoid(total))
        i, f, g, o = gates
        new = rounding_divide_by_pot(f * cells[0].astype(np.int64), 15)
        new = _int16(new + rounding_divide_by_pot(i * g, 30 + exponent))
        bound = self.clip_bound(inputs[14])
        new = np.clip(new, -bound, bound) if bound else new
        product = multiply_by_quantized_multiplier(o * s16.tanh(new, 15 + exponent), *multipliers[8], Rounding.DOUBLE)
        out = np.clip(product + self.hidden_zero_point, -128, 127)
        return out.astype(np.int8)[None], new.astype(np.int16)[None]

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        assert inputs[0] is not None
        _, steps, width = outputs[0].shape
        return 4 * steps * width * (inputs[0].shape[2] + width)


def _int16(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -(2**15), 2**15 - 1)


def _scale(type_: TensorType | None) -> float:
    assert type_ is not None and type_.quantization is not None
    return type_.quantization.scale


def cell_exponent(cells: TensorType) -> int:
    """The power of two that is the scale of the cells."""
    return round(float(np.log2(_scale(cells))))


def _case(label: str, steps: int, inputs: int, width: int, *, dtype: DType = DType.INT8, clip: float = 0.0,
          exponent: int = -12, zero_points: tuple[int, int] = (-3, 0)) -> Case:  # fmt: skip
    def build(rng: np.random.Generator) -> Graph:
        builder = GraphBuilder(f"lstm_{label}")
        is_float = dtype is DType.FLOAT32
        wide = zip(["w"] * 4 + ["r"] * 4, [(width, inputs)] * 4 + [(width, width)] * 4, strict=True)
        held = floats((1, width)) if is_float else quantized((1, width), 0.0078, zero_points[1])
        cells = floats((1, width)) if is_float else quantized((1, width), 2.0**exponent, 0, DType.INT16)
        shape = (1, steps, inputs)
        builder.inputs.append(builder.value("x", floats(shape) if is_float else quantized(shape, 0.03, zero_points[0])))
        names: list[str | None] = ["x"]
        for number, (letter, size) in enumerate(wide):
            data = rng.integers(-127, 128, size, np.int8)
            type_ = floats(size) if is_float else quantized(size, 0.01 + 0.001 * number, 0)
            names.append(builder.value(f"{letter}{number % 4}", type_, data * np.float32(0.01) if is_float else data))
        for gate in range(4):
            data = rng.integers(-2000, 2000, width, np.int32)
            type_ = TensorType(DType.FLOAT32 if is_float else DType.INT32, (width,))
            names.append(builder.value(f"b{gate}", type_, (data / 2000).astype(np.float32) if is_float else data))
        names += [builder.value("held", held), builder.value("cells", cells)]
        builder.inputs += ["held", "cells"]
        y = TensorType(held.dtype, (1, steps, width), held.quantization)
        made = [builder.value(name, type_) for name, type_ in (("y", y), ("last", held), ("cells_after", cells))]
        builder.outputs += made
        scale = 0.0 if held.quantization is None else held.quantization.scale
        builder.node(Lstm(scale, 0 if is_float else zero_points[1], clip), names, made, "lstm")
        return builder.build()

    return Case(label, build)


CASES: tuple[Case, ...] = (
    _case("one", 1, 1, 1),
    _case("sequence", 5, 9, 7),
    _case("clipped", 3, 4, 8, clip=1.5),
    _case("large_cells", 4, 3, 5, exponent=-10, zero_points=(127, 0)),
    _case("float", 4, 5, 6, dtype=DType.FLOAT32),
    _case("float_clipped", 3, 4, 3, dtype=DType.FLOAT32, clip=0.5),
)
