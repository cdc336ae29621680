"""SVDF: a fully connected layer over time, by filters of rank one (docs/numerics.md, "SVDF")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, TensorType
from midge.ops.base import Activation, Case, Op, Rounding, Types, is_quantized
from midge.ops.cases import floats, quantized, scale_of
from midge.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier, wrap_int32
from midge.ops.windows import clamp


@dataclass(frozen=True, slots=True)
class Svdf(Op):
    """Operands x [1, I], feature weights [F, I], time weights [F, M], bias [U] or None, and what a state holds: of each
    filter its last M features, oldest first, [1, F * M]. Results: [1, U], and what the state holds next. F = U * rank.

    float32; or x, feature weights and result int8, bias int32, and time weights and state both int16 or both int8 (the
    weights with zero point 0). Integers have the activation relu and
    are clamped to their type only: as runtimes do it, whose results have the zero point -128.
    """

    name: ClassVar[str] = "svdf"
    rank: int
    activation: Activation

    def check(self, inputs: Types, outputs: Sequence[TensorType]) -> None:
        self.expect(
            len(inputs) == 5 and len(outputs) == 2, f"{len(inputs)} operands, {len(outputs)} results", "5 and 2"
        )
        x, feature, time, bias, held = inputs
        self.expect(None not in (x, feature, time, held), "an operand left out", "all but the bias")
        assert x is not None and feature is not None and time is not None and held is not None
        y, after = outputs
        self.expect(len(x.shape) == 2 and x.shape[0] == 1, f"an input of shape {list(x.shape)}", "[1, values]")
        self.expect(len(feature.shape) == len(time.shape) == 2 and feature.shape[1] == x.shape[1]
                    and feature.shape[0] == time.shape[0], f"weights {list(feature.shape)} and {list(time.shape)}",
                    "[filters, values] and [filters, steps]")  # fmt: skip
        units, rest = divmod(feature.shape[0], max(self.rank, 1))
        self.expect(self.rank >= 1 and rest == 0, f"{feature.shape[0]} filters of rank {self.rank}", "whole units")
        self.expect(y.shape == (1, units), f"an output of shape {list(y.shape)}", f"[1, {units}]")
        self.expect(held.shape == (1, time.elements), f"a state of shape {list(held.shape)}", f"[1, {time.elements}]")
        self.expect(after == held, "a state of another type afterwards", "the operand's")
        self.expect(bias is None or bias.shape == (units,), "a bias of another length", f"[{units}]")
        self._check_dtypes(x, feature, time, bias, held, y)

    def _check_dtypes(self, x: TensorType, feature: TensorType, time: TensorType, bias: TensorType | None,
                      held: TensorType, y: TensorType) -> None:  # fmt: skip
        if x.dtype is DType.FLOAT32:
            others = (feature, time, bias or x, held, y)
            self.expect(all(type_.dtype is DType.FLOAT32 for type_ in others), "mixed types", "float32")
            return
        self.expect(all(is_quantized(type_) for type_ in (x, feature, y)), "operands that are not int8",
                    "int8 with one scale")  # fmt: skip
        self.expect(is_quantized(held, DType.INT8, DType.INT16) and is_quantized(time, held.dtype),
                    f"a state of type {held.dtype.value}, weights {time.dtype.value}", "both int16 or both int8"
                    )  # fmt: skip
        self.expect(not feature.zero_point and not time.zero_point, "weights with a zero point", "0")
        self.expect(self.activation is Activation.RELU, f"a fused {self.activation.value}", "relu, as runtimes have it")
        self.expect(bias is None or bias.dtype is DType.INT32, "a bias of another type", "int32")

    def multipliers(self, inputs: Types, y: TensorType) -> tuple[tuple[int, int], tuple[int, int]]:
        """Q31 multipliers and shifts of features and of results, for DOUBLE rounding; scales in float32 arithmetic."""
        x, feature, time, _, held = (_scale(type_) for type_ in inputs)
        reals = x * feature / held, held * time / _scale(y)
        return quantize_multiplier(float(reals[0])), quantize_multiplier(float(reals[1]))

    def evaluate(self, arrays: Sequence[np.ndarray | None], inputs: Types, outputs: Sequence[TensorType]
                 ) -> tuple[np.ndarray, ...]:  # fmt: skip
        x, feature, time, bias, held = arrays
        assert x is not None and feature is not None and time is not None and held is not None
        filters, steps = time.shape
        memory = held.reshape(filters, steps)
        if outputs[0].dtype.is_float:
            after = np.concatenate([memory[:, 1:], (feature @ x[0])[:, None]], axis=1)
            units = (after * time).sum(axis=1).reshape(-1, self.rank).sum(axis=1)
            units = units if bias is None else units + bias
            return clamp(units, self.activation, outputs[0])[None], after.reshape(held.shape)
        assert inputs[0] is not None and inputs[4] is not None
        features, results = self.multipliers(inputs, outputs[0])
        acc = wrap_int32(feature.astype(np.int64) @ (x[0].astype(np.int64) - inputs[0].zero_point))
        zero_point = inputs[4].zero_point
        scaled = multiply_by_quantized_multiplier(acc, *features, Rounding.DOUBLE) + zero_point
        new = np.clip(scaled, *outputs[1].dtype.limits)
        after = np.concatenate([memory[:, 1:], new.astype(held.dtype)[:, None]], axis=1)
        units = ((after.astype(np.int64) - zero_point) * time).sum(axis=1).reshape(-1, self.rank).sum(axis=1)
        units = wrap_int32(units if bias is None else units + bias)
        scaled = multiply_by_quantized_multiplier(units, *results, Rounding.DOUBLE) + outputs[0].zero_point
        return clamp(scaled, Activation.NONE, outputs[0])[None], after.reshape(held.shape)

    def macs(self, inputs: Types, outputs: Sequence[TensorType]) -> int:
        assert inputs[1] is not None and inputs[2] is not None
        return inputs[1].elements + inputs[2].elements


def _scale(type_: TensorType | None) -> np.float32:
    return np.float32(0.0 if type_ is None or type_.quantization is None else type_.quantization.scale)


def _case(label: str, inputs: int, units: int, steps: int, *, rank: int = 1, state: DType = DType.INT16,
          zero_points: tuple[int, int] = (3, -128), activation: Activation = Activation.RELU, bias: bool = True
          ) -> Case:  # fmt: skip
    filters = units * rank

    def build(rng: np.random.Generator) -> Graph:
        builder = GraphBuilder(f"svdf_{label}")
        if state is DType.FLOAT32:
            types = [
                floats(shape) for shape in ((1, inputs), (filters, inputs), (filters, steps), (1, filters * steps))
            ]
            data = [rng.standard_normal(type_.shape).astype(np.float32) for type_ in types[1:3]]
            y, offset = floats((1, units)), rng.standard_normal(units).astype(np.float32)
        else:
            finer = 256 if state is DType.INT16 else 1
            shapes = ((1, inputs), (filters, inputs), (filters, steps), (1, filters * steps))
            scales = (0.05, 0.02, 0.02 / finer, 0.1 * inputs**0.5 / finer)
            kinds = (DType.INT8, DType.INT8, state, state)
            points = (zero_points[0], 0, 0, -50 if state is DType.INT8 else 0)
            types = [quantized(shape, scale_of(rng, scale), point, kind)
                     for shape, scale, point, kind in zip(shapes, scales, points, kinds, strict=True)]  # fmt: skip
            data = [rng.integers(*type_.dtype.limits, type_.shape, type_.dtype.numpy) for type_ in types[1:3]]
            y = quantized((1, units), scale_of(rng, 0.1 * (inputs * steps * rank) ** 0.5), zero_points[1])
            offset = rng.integers(-(2**14) * finer, 2**14 * finer, units, np.int32)
        x, held = builder.value("x", types[0]), builder.value("held", types[3])
        weights = [builder.value(name, *pair) for name, pair in
                   zip(("feature", "time"), zip(types[1:3], data, strict=True), strict=True)]  # fmt: skip
        b = builder.value("b", TensorType(DType.of(offset), (units,)), offset) if bias else None
        results = [builder.value("y", y), builder.value("after", types[3])]
        builder.inputs += [x, held]
        builder.outputs += results
        builder.node(Svdf(rank, activation), [x, *weights, b, held], results, "svdf")
        return builder.build()

    return Case(label, build)


CASES: tuple[Case, ...] = (
    _case("one", 1, 1, 1),
    _case("rank1", 9, 7, 5),
    _case("rank2", 8, 4, 10, rank=2),
    _case("no_bias", 3, 5, 4, bias=False),
    _case("zero_points", 12, 3, 3, zero_points=(-128, 127)),
    _case("state8", 9, 4, 8, rank=2, state=DType.INT8),
    _case("float", 7, 3, 5, rank=2, state=DType.FLOAT32),
    _case("float_no_bias", 4, 5, 3, state=DType.FLOAT32, activation=Activation.NONE, bias=False),
)
