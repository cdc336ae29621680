"""Fully connected layers for cores with the DSP extension: four outputs share the widened inputs."""

from __future__ import annotations

from typing import ClassVar

from midge.kernels.base import Function
from midge.kernels.conv2d.armv7em import pair_helpers
from midge.kernels.fully_connected.portable import FullyConnectedS8
from midge.kernels.quantized import ChannelScaling


class FullyConnectedS8Smlad(FullyConnectedS8):
    """Blocks of 4 outputs; rows of weights are filled with zeros to whole words."""

    name: ClassVar[str] = "fully_connected_s8_smlad__armv7em"
    template: ClassVar[str] = "fully_connected/armv7em_s8.c.j2"
    run_multiple: ClassVar[int] = 4

    def helpers(self, scaling: ChannelScaling) -> tuple[Function, ...]:
        return (*super().helpers(scaling), *pair_helpers())


KERNELS = (FullyConnectedS8Smlad(),)
