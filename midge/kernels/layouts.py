"""Layouts that kernels of several operators agree on."""

from __future__ import annotations

from midge.ir.types import DType
from midge.kernels.base import Layout

NATURAL = Layout(DType.INT8)
"""int8 values as they are."""

WIDE = Layout(DType.INT16, fraction_bits=6)
"""Pixel after pixel, widened: a word holds two values ready for `SMLAD`. Six zero bits below the point make the scaled
accumulators fine enough for requantisation without a shift of their own, and |q - zero point| < 2^9 leaves room."""

CENTRED = Layout(DType.INT16, fraction_bits=0)
"""Pixel after pixel, widened, without the zero point and without bits below the point: products have room for weights
that are two to a half word."""

PLANES = Layout(DType.INT8, planes=True)
"""Channel after channel: neighbouring pixels of a channel share a word, as depthwise kernels want them."""

WIDE_PLANES = Layout(DType.INT16, planes=True, fraction_bits=0)
"""The same, widened and without the zero point: a word holds two neighbours ready for `SMLAD`."""

NATURAL_S16 = Layout(DType.INT16)
"""int16 values as they are: with their zero point of 0 a word holds two, ready for `SMLAD`."""

PLANES_S16 = Layout(DType.INT16, planes=True)
"""The same, channel after channel."""

EXCESS = Layout(DType.UINT8, excess=128)
"""q + 128: Armv6-M loads unsigned bytes at constant offsets, signed ones only at an offset in a register."""

EXCESS_PLANES = Layout(DType.UINT8, planes=True, excess=128)
"""The same, channel after channel."""
