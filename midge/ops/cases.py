"""Builders of the operators' test tables: one-operator graphs with random constants and types."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Case, Op
from midge.ops.windows import Window

Operand = tuple[str, TensorType, np.ndarray | None]
"""Name, type, and the data of a constant (None: an input of the graph)."""


def quantized(shape: Sequence[int], scale: float, zero_point: int, dtype: DType = DType.INT8) -> TensorType:
    """A type with one scale, rounded to float32 as model files hold it."""
    return TensorType(dtype, tuple(shape), Quantization((float(np.float32(scale)),), (zero_point,), None))


def floats(shape: Sequence[int]) -> TensorType:
    return TensorType(DType.FLOAT32, tuple(shape))


def scale_of(rng: np.random.Generator, about: float) -> float:
    """A random scale near `about`."""
    return float(about * rng.uniform(0.7, 1.4))


def single(label: str, op: Op, operands: Sequence[Operand | None], output: TensorType) -> Graph:
    """A graph of one operator."""
    builder = GraphBuilder(label)
    names = [None if operand is None else builder.value(*operand) for operand in operands]
    builder.inputs += [operand[0] for operand in operands if operand is not None and operand[2] is None]
    builder.outputs.append(builder.value("y", output))
    builder.node(op, names, ["y"], name=op.name)
    return builder.build()


def case(
    label: str, op: Op, make: Callable[[np.random.Generator], tuple[Sequence[Operand | None], TensorType]]
) -> Case:
    """A case from a function that makes operands and the result's type."""

    def build(rng: np.random.Generator) -> Graph:
        operands, output = make(rng)
        return single(f"{op.name}_{label}", op, operands, output)

    return Case(label, build)


def window_case(label: str, op: Op, x_shape: tuple[int, int, int, int], weights_shape: tuple[int, ...], window: Window,
                *, channels: int, channel_axis: int, fan_in: int, zero_points: tuple[int, int], per_channel: bool,
                bias: bool, dtype: DType, bias_dtype: DType = DType.INT32) -> Case:  # fmt: skip
    """A convolution; for integers the scales spread the results over the whole output range."""
    rows, columns = window.output_size(x_shape[1], x_shape[2])
    y_shape = (1, rows, columns, channels)
    return case(label, op, lambda rng: weighted_operands(
        rng, x_shape, weights_shape, y_shape, channels=channels, channel_axis=channel_axis, fan_in=fan_in,
        zero_points=zero_points, per_channel=per_channel, bias=bias, dtype=dtype, bias_dtype=bias_dtype))  # fmt: skip


def offset_weights(inner: Case, offset: int) -> Case:
    """A case of int8 weights with weights of 16 bits: as many more each as weights with a zero point may have."""

    def build(rng: np.random.Generator) -> Graph:
        builder = GraphBuilder.of(inner.build(rng))
        weights = builder.values["w"]
        assert weights.data is not None
        wide = replace(weights.type, dtype=DType.INT16)
        builder.value("w", wide, weights.data.astype(np.int16) + np.int16(offset))
        return builder.build()

    return Case(f"{inner.name}_offset_weights", build)


def weighted_operands(rng: np.random.Generator, x_shape: Sequence[int], weights_shape: Sequence[int],
                      y_shape: Sequence[int], *, channels: int, channel_axis: int, fan_in: int,
                      zero_points: tuple[int, int], per_channel: bool, bias: bool, dtype: DType,
                      bias_dtype: DType = DType.INT32) -> tuple[list[Operand | None], TensorType]:  # fmt: skip
    """Input, constant weights and bias, and the result's type."""
    if dtype is DType.FLOAT32:
        weights = rng.standard_normal(weights_shape).astype(np.float32)
        offset = ("b", floats((channels,)), rng.standard_normal(channels).astype(np.float32)) if bias else None
        return [("x", floats(x_shape), None), ("w", floats(weights_shape), weights), offset], floats(y_shape)
    x_scale, w_scale = scale_of(rng, 0.05), scale_of(rng, 0.02)
    spread = [scale_of(rng, w_scale) for _ in range(channels)] if per_channel else [w_scale]
    scales = tuple(float(np.float32(scale)) for scale in spread)
    axis = channel_axis if per_channel else None
    w_type = TensorType(DType.INT8, tuple(weights_shape), Quantization(scales, (0,) * len(scales), axis))
    weights = rng.integers(-127, 128, weights_shape, np.int8)
    # The accumulator's deviation is about 74 (uniform int8) squared times the root of the number of products.
    deviation = 74.0 * 74.0 * math.sqrt(fan_in) * (1.0 + abs(zero_points[0]) / 74.0)
    finer = 256 if dtype is DType.INT16 else 1
    y_scale = scale_of(rng, x_scale * w_scale * deviation / 60.0) / finer
    y_type = quantized(y_shape, y_scale, zero_points[1], dtype)
    x = ("x", quantized(x_shape, x_scale / finer, zero_points[0], dtype), None)
    b_type, reach = TensorType(bias_dtype, (channels,)), int(deviation) * finer
    offset = ("b", b_type, rng.integers(-reach, reach, channels, bias_dtype.numpy)) if bias else None
    return [x, ("w", w_type, weights), offset], y_type


def random_inputs(graph: Graph, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Inputs that use the whole range of integer types; floats are normally distributed."""

    def draw(type_: TensorType) -> np.ndarray:
        if type_.dtype.is_float:
            return rng.standard_normal(type_.shape).astype(np.float32)
        if type_.dtype is DType.BOOL:
            return rng.integers(0, 2, type_.shape).astype(np.bool_)
        low, high = type_.dtype.limits
        return rng.integers(low, high, type_.shape, type_.dtype.numpy, endpoint=True)

    return tuple(draw(graph.type(name)) for name in graph.inputs)
