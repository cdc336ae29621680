"""Differences for cores with the DSP extension."""

from __future__ import annotations

from typing import ClassVar

from midge.kernels.add.sums_s16 import SumS16
from midge.ops.sub import Sub


class SubS16Words(SumS16):
    """int16, two values a word."""

    name: ClassVar[str] = "sub_s16_words__armv7em"
    op = Sub


KERNELS = (SubS16Words(),)
