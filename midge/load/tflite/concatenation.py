"""Tensors side by side; those of uint8 may have scales of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.ir.verify import verify_type
from midge.load.tflite.shapes import axis_of
from midge.load.tflite.site import Site
from midge.load.tflite.unsigned import EXCESS
from midge.ops.base import Op
from midge.ops.concatenation import Concatenation
from midge.ops.dequantize import Dequantize
from midge.ops.fixed_point import round_half_away
from midge.ops.quantize import Quantize


def concatenation(site: Site) -> None:
    """CONCATENATION of tensors with one quantisation, or of uint8."""
    axis, code = site.options("ConcatenationOptions", "Axis", "FusedActivationFunction")
    operands = [site.required(position) for position in range(len(site.operator.inputs))]
    if not operands:
        site.broken("no operands", "at least one")
    types, y = [site.importer.type(index) for index in operands], site.result_type()
    axis = axis_of(site, axis, len(types[0].shape))
    if any(len(type_.shape) != len(types[0].shape) for type_ in types):
        site.broken("operands of different rank", "one rank")
    others = [k for k, type_ in enumerate(types) if (type_.dtype, type_.quantization) != (y.dtype, y.quantization)]
    shape = list(types[0].shape)
    shape[axis] = sum(type_.shape[axis] for type_ in types)
    op = Concatenation(axis, site.activation(code))
    if not others:
        site.emit(op, list(operands), tuple(shape))
        return
    if not all(site.raw(position).is_unsigned for position in range(len(operands))):
        site.unsupported("operands with different scales")
    for index in (*operands, site.result()):
        verify_type(site.importer.type(index), site.importer.where_tensor(index))
    if any(type_.quantization is None or type_.quantization.axis is not None for type_ in (*types, y)):
        site.unsupported("a scale for each channel")
    chain = site.chain()
    names = [chain.value(index) for index in operands]
    for position in others:
        for step, type_ in _rescaling(site, types[position], y):
            names[position] = chain.add(step, [names[position]], type_)
    chain.finish(op, names, tuple(shape))


def _rescaling(site: Site, x: TensorType, y: TensorType) -> tuple[tuple[Op, TensorType], ...]:
    """The operators that bring bytes to the result's scale, as LiteRT does in float32: integers if they do the same."""
    kept, real = replace(y, shape=x.shape), TensorType(DType.FLOAT32, x.shape)
    in_integers, in_floats = ((Quantize(), kept),), ((Dequantize(), real), (Quantize(), kept))
    expected = _rescaled(x, y)
    for steps in (in_integers, in_floats):
        found, type_ = np.arange(-128, 128).astype(np.int8), replace(x, shape=(256,))
        for op, made in steps:
            flat = replace(made, shape=(256,))
            (found,) = op.evaluate([found], [type_], [flat])
            type_ = flat
        if np.array_equal(found, expected):
            return steps
    return site.unsupported("a scale with which float32 rounds otherwise in LiteRT")


def _rescaled(x: TensorType, y: TensorType) -> np.ndarray:
    """What LiteRT makes of each byte."""
    assert x.quantization is not None and y.quantization is not None
    scale = np.float32(x.quantization.scale) * (np.float32(1.0) / np.float32(y.quantization.scale))
    bias = np.float32(-(x.zero_point + EXCESS)) * scale
    rounded = round_half_away(np.arange(256).astype(np.float32) * scale + bias)
    return np.clip(rounded + y.zero_point, -128, 127)


ROWS: dict[str, Callable[[Site], None]] = {"CONCATENATION": concatenation}
