"""Scales and zero points of ONNX as types of the graph; unsigned bytes become signed ones, both 128 less."""

from __future__ import annotations

import numpy as np

from midge.ir.types import DType, Quantization, TensorType

UNSIGNED_EXCESS = 128


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


def symmetric_weights(integers: np.ndarray, zero_points: np.ndarray | None, axis: int) -> np.ndarray | None:
    """Weights without their zero points, as int8; None where they do not fit into it."""
    centred = integers.astype(np.int32)
    if zero_points is not None:
        along = [1] * integers.ndim
        if zero_points.size > 1:
            along[axis] = -1
        centred = centred - zero_points.astype(np.int32).reshape(along)
    if centred.min(initial=0) < -128 or centred.max(initial=0) > 127:
        return None
    return centred.astype(np.int8)
