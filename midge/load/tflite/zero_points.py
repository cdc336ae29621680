"""Weights of uint8, and of int8 with zero points: without them, as int8 where they fit into it, else as int16."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from midge.ir.types import DType
from midge.ir.verify import verify_type
from midge.load.tflite.file import RawQuantization
from midge.load.tflite.site import Site
from midge.ops.fixed_point import quantize_multiplier

_MOST_STEPS = 64
"""Neighbours of a scale that are tried, on either side. The first does nearly always."""


def centred_weights(site: Site) -> Site:
    """The layer with weights (operand 1) whose zero points are 0; itself where there is nothing to do.

    Convolutions of uint8 multiply the scales of input and weights in float32, where those of int8 do it in float64:
    their weights get a scale with which the second gives the first.
    """
    raw = site.raw(1)
    x, weights, quantization = site.type(0), site.constant(1), raw.quantization
    if weights is None or quantization is None or weights.dtype != np.int8 or x.dtype is not DType.INT8:
        return site
    in_float32 = raw.is_unsigned and site.operator.code != "FULLY_CONNECTED"
    if not any(quantization.zero_points) and not in_float32:
        return site
    if len(quantization.scales) != 1 or not (raw.is_unsigned or site.operator.code == "FULLY_CONNECTED"):
        return site  # refused, or broken
    for index in (site.required(0), site.required(1), site.result()):
        verify_type(site.importer.type(index), site.importer.where_tensor(index))
    scale, zero_point = quantization.scales[0], quantization.zero_points[0]
    data = weights.astype(np.int16) - np.int16(zero_point)
    fits = data.min(initial=0) >= -128 and data.max(initial=0) <= 127
    stored = data.astype(np.int8 if fits else np.int16)
    if in_float32:
        scale = _scale_in_float32(site, scale)
    tensor = replace(raw, dtype="INT8" if fits else "INT16", quantization=RawQuantization((scale,), (0,), 0),
                     data=stored.view(np.uint8).reshape(-1), is_unsigned=False)  # fmt: skip
    operands = list(site.operator.inputs)
    operands[1] = site.importer.add_tensor(tensor)
    return site.with_operands(operands)


def _scale_in_float32(site: Site, scale: float) -> float:
    """A float64 near `scale` whose product with the input's scale requantises as their float32 product does."""
    x, y = site.type(0).quantization, site.result_type().quantization
    if x is None or y is None or x.axis is not None or y.axis is not None:
        return scale  # refused, or broken
    with np.errstate(over="ignore"):
        product = float(np.float32(x.scale) * np.float32(scale))
    if not 0.0 < product < math.inf:
        site.unsupported(f"scales {x.scale} and {scale}, whose product leaves float32")
    wanted = quantize_multiplier(product / y.scale)
    low = high = product / x.scale
    for _ in range(_MOST_STEPS):
        for near in (low, high):
            if quantize_multiplier(x.scale * near / y.scale) == wanted:
                return near
        low, high = float(np.nextafter(low, 0.0)), float(np.nextafter(high, np.inf))
    return site.unsupported(f"weights with the scale {scale}, which no scale of int8 weights stands for")
