"""int8 forms of functions of one value that are more than a table of float32 results (docs/numerics.md)."""

from __future__ import annotations

import numpy as np

from midge.ir.types import TensorType
from midge.ops.base import Rounding
from midge.ops.fixed_point import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
)
from midge.ops.l2_normalization import inverse_root

_INT16_MAX = 32767
_ROOT_SHIFT = 20
"""Bits that 1 / sqrt(x) is held with behind the point."""
_F32 = np.float32


def absolute(x: np.ndarray, x_type: TensorType, output: TensorType) -> np.ndarray:
    """|x - zero point|, scaled."""
    return _rescaled(np.abs(_centred(x, x_type)), x_type, output)


def hard_swish(x: np.ndarray, x_type: TensorType, output: TensorType) -> np.ndarray:
    """x · relu6(x + 3) / 6, where relu6(x + 3) / 6 is a Q0.15 of what lies in -3 … 3."""
    x_scale, y_scale = _scales(x_type, output)
    fine = _F32(_F32(1 / 128) * x_scale)
    y_multiplier, y_shift = quantize_multiplier(float(_F32(fine / y_scale)))
    gate_multiplier, gate_shift = quantize_multiplier(float(_F32(fine / (_F32(3.0) / _F32(32768.0)))))
    wide = _centred(x, x_type) * 128
    value = _high_mul_s16(wide, _upper_half(y_multiplier))
    gate = _saturate(wide << max(gate_shift - 1, 0))
    gate = _high_mul_s16(gate, _upper_half(gate_multiplier))
    gate = _saturate(gate << 1) if gate_shift > 0 else rounding_divide_by_pot(gate, -gate_shift)
    gate = (gate + 32768) >> 1
    product = np.trunc(gate * value / 32768.0).astype(np.int64)
    return _clamped(rounding_divide_by_pot(product, -y_shift), output)


def can_hard_swish(x_type: TensorType, output: TensorType) -> bool:
    """False where the result's scale is below about 1/128 of the input's, which LiteRT refuses."""
    x_scale, y_scale = _scales(x_type, output)
    return quantize_multiplier(float(_F32(_F32(1 / 128) * x_scale) / y_scale))[1] <= 0


def log(x: np.ndarray, x_type: TensorType, output: TensorType) -> np.ndarray:
    """By float32 arithmetic; the lowest result for what has no logarithm."""
    x_scale, y_scale = _scales(x_type, output)
    centred = _centred(x, x_type)
    real = x_scale * np.maximum(centred, 1).astype(_F32)
    logarithm = np.log(real.astype(np.float64)).astype(_F32) * (_F32(1.0) / y_scale)
    whole = np.sign(logarithm) * np.floor(np.abs(logarithm) + _F32(0.5))
    return np.where(centred > 0, _clamped(whole.astype(np.int64), output), np.int8(-128))


def inverse_square_root(x: np.ndarray, x_type: TensorType, output: TensorType) -> np.ndarray:
    """1 / √x in fixed point; the highest result for what has none (LiteRT refuses negative values)."""
    x_scale, y_scale = _scales(x_type, output)
    multiplier_q31, shift = quantize_multiplier(1.0 / float(np.sqrt(x_scale) * y_scale))

    def scaled(centred: int) -> int:
        root_q31, root_shift = inverse_root(centred)
        root = _scale(np.array([1]), root_q31, root_shift + _ROOT_SHIFT)
        return int(_scale(root, multiplier_q31, shift - _ROOT_SHIFT)[0])

    roots = np.array([127 - output.zero_point if value <= 0 else scaled(value) for value in range(-255, 256)])
    return _clamped(roots[_centred(x, x_type) + 255], output)


def square_root(x: np.ndarray, x_type: TensorType, output: TensorType) -> np.ndarray:
    """√x by float32 arithmetic, its fraction cut off; that of 0 for negative values (which LiteRT refuses)."""
    x_scale, y_scale = _scales(x_type, output)
    real = x_scale * np.maximum(_centred(x, x_type), 0).astype(_F32)
    return _clamped(np.trunc(np.sqrt(real) / y_scale).astype(np.int64), output)


def _scales(x: TensorType, output: TensorType) -> tuple[np.float32, np.float32]:
    assert x.quantization is not None and output.quantization is not None
    return _F32(x.quantization.scale), _F32(output.quantization.scale)


def _centred(x: np.ndarray, x_type: TensorType) -> np.ndarray:
    return x.astype(np.int64) - x_type.zero_point


def _clamped(value: np.ndarray, output: TensorType) -> np.ndarray:
    return np.clip(value + output.zero_point, -128, 127).astype(np.int8)


def _rescaled(centred: np.ndarray, x: TensorType, output: TensorType) -> np.ndarray:
    x_scale, y_scale = _scales(x, output)
    if x_scale != y_scale:
        centred = _scale(centred, *quantize_multiplier(float(x_scale / y_scale)))
    return _clamped(centred, output)


def _scale(value: np.ndarray, multiplier_q31: int, shift: int) -> np.ndarray:
    return multiply_by_quantized_multiplier(value, multiplier_q31, shift, Rounding.DOUBLE)


def _upper_half(multiplier_q31: int) -> int:
    """A Q31 multiplier in Q15, to nearest."""
    return min((multiplier_q31 + 32768) >> 16, _INT16_MAX)


def _high_mul_s16(a: np.ndarray, b: int) -> np.ndarray:
    """gemmlowp's SaturatingRoundingDoublingHighMul of int16: halves away from zero."""
    product = a * b
    return np.trunc((product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))) / 32768.0).astype(np.int64)


def _saturate(value: np.ndarray) -> np.ndarray:
    return np.clip(value, -32768, _INT16_MAX)
