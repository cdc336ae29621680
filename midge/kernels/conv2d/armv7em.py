"""Convolution for cores with the DSP extension (Cortex-M4, M7, M33): two products an instruction."""

from __future__ import annotations

from typing import ClassVar

from midge.kernels import render
from midge.kernels.base import Function
from midge.kernels.conv2d.portable import Conv2DS8
from midge.kernels.quantized import ChannelScaling


class Conv2DS8Smlad(Conv2DS8):
    """Blocks of 2 pixels by 2 channels; runs of weights are filled with zeros to whole words."""

    name: ClassVar[str] = "conv2d_s8_smlad__armv7em"
    template: ClassVar[str] = "conv2d/armv7em_s8.c.j2"
    run_multiple: ClassVar[int] = 4

    def helpers(self, scaling: ChannelScaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *pair_helpers())


def pair_helpers() -> tuple[Function, ...]:
    """Loads of four bytes, their widening to pairs of halves, and the product of pairs."""
    return tuple(render.helper(name) for name in ("load_s8x4", "even_bytes", "odd_bytes", "smlad"))


KERNELS = (Conv2DS8Smlad(),)
