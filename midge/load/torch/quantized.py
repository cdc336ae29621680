"""What torchao's PT2E flow writes between float operators, as QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.torch.call import Call, Refused

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int32": (-(1 << 31), (1 << 31) - 1)}


def _dtype(call: Call) -> np.dtype:
    name = str(call["dtype"]).removeprefix("torch.")
    if name not in _LIMITS:
        raise Refused(f"integers of type {name}")
    return np.dtype(name)


def _scale(call: Call, scale: str, zero: str, dtype: np.dtype) -> tuple[str, str]:
    found = [call.constant(name) for name in (scale, zero)]
    scales = np.asarray(found[0], np.float32)
    zeros = np.zeros(scales.shape, dtype) if found[1] is None else np.asarray(found[1]).astype(dtype)
    if scales.size == 1:
        scales, zeros = scales.reshape(()), zeros.reshape(())
    return call.records.constant(scales, "scale"), call.records.constant(zeros, "zero_point")


def quantize(call: Call) -> str:
    """Activations: the whole range of their type, since that is where integers saturate."""
    dtype = _dtype(call)
    bounds = (int(call["quant_min"]), int(call["quant_max"]))
    if bounds != _LIMITS[dtype.name]:
        raise Refused(f"activations clipped to {bounds[0]} … {bounds[1]}, and not to the whole range of {dtype.name}")
    return call.op("QuantizeLinear", call.tensor("input"), *_scale(call, "scale", "zero_point", dtype))


def dequantize(call: Call) -> str:
    return call.op("DequantizeLinear", call.tensor("input"), *_scale(call, "scale", "zero_point", _dtype(call)))


def dequantize_channels(call: Call) -> str:
    return call.op("DequantizeLinear", call.tensor("input"), *_scale(call, "scales", "zero_points", _dtype(call)),
                   axis=int(call["axis"]))  # fmt: skip


ROWS: dict[str, Callable[[Call], Any]] = {
    "quantized_decomposed.dequantize_per_channel": dequantize_channels,
    "quantized_decomposed.dequantize_per_tensor": dequantize,
    "quantized_decomposed.quantize_per_tensor": quantize,
}
