"""Scales and zero points of ONNX as types of the graph; unsigned bytes become signed ones, both 128 less."""

from __future__ import annotations

import numpy as np

from midge.ir.types import DType, Quantization, TensorType

UNSIGNED_EXCESS = 128
_SPAN = 255


def type_of_scale(scale: np.ndarray, zero_point: np.ndarray | None, shape: tuple[int, ...]) -> TensorType | None:
    """The type of activations with one scale; None where the element type is not one that activations have."""
    dtype = np.dtype(np.uint8) if zero_point is None else zero_point.dtype
    if scale.size != 1 or not np.isfinite(scale).all() or float(scale.reshape(-1)[0]) <= 0:
        return None
    real = float(np.float32(scale.reshape(-1)[0]))
    zero = 0 if zero_point is None else int(zero_point.reshape(-1)[0])
    if dtype == np.uint8:
        return TensorType(DType.INT8, shape, Quantization((real,), (zero - UNSIGNED_EXCESS,), None))
    if dtype == np.int8:
        return TensorType(DType.INT8, shape, Quantization((real,), (zero,), None))
    if dtype == np.int16:
        return TensorType(DType.INT16, shape, Quantization((real,), (zero,), None))
    return None


def is_unsigned(zero_point: np.ndarray | None) -> bool:
    """True where quantised values are uint8, as they are without a zero point."""
    return zero_point is None or zero_point.dtype == np.uint8


def as_signed(integers: np.ndarray) -> np.ndarray:
    """uint8 as int8 with the same distances; others as they are."""
    if integers.dtype == np.uint8:
        return (integers.astype(np.int16) - UNSIGNED_EXCESS).astype(np.int8)
    return integers


def quantized_as(real: np.ndarray, type_: TensorType) -> np.ndarray:
    """Real numbers in the integers of a type with one scale, as QuantizeLinear rounds them: halves to even."""
    assert type_.quantization is not None
    low, high = type_.dtype.limits
    steps = np.rint(real / np.float32(type_.quantization.scale)) + type_.zero_point
    return np.clip(steps, low, high).astype(type_.dtype.numpy)


def as_bytes(integers: np.ndarray) -> np.ndarray:
    """Integers of 4 or 2 bits as int8 or uint8; others as they are."""
    narrow = {"int4": np.int8, "int2": np.int8, "uint4": np.uint8, "uint2": np.uint8}.get(integers.dtype.name)
    return integers if narrow is None else integers.astype(narrow)


def symmetric_weights(integers: np.ndarray, zero_points: np.ndarray | None, axis: int) -> np.ndarray | None:
    """Weights without their zero points, as int8, or as int16 where they do not fit into it.

    None where they lie further apart than the numbers of a byte, as those of several zero points may.
    """
    centred = integers.astype(np.int32)
    if zero_points is not None:
        along = [1] * integers.ndim
        if zero_points.size > 1:
            along[axis] = -1
        centred = centred - zero_points.astype(np.int32).reshape(along)
    low, high = int(centred.min(initial=0)), int(centred.max(initial=0))
    if low >= -128 and high <= 127:
        return centred.astype(np.int8)
    return centred.astype(np.int16) if high - low <= _SPAN else None
