"""Depthwise convolution for cores with the DSP extension: four channels at a time."""

from __future__ import annotations

from typing import ClassVar

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Function
from midge.kernels.depthwise_conv2d.portable import DepthwiseConv2DS8, depthwise_window
from midge.kernels.quantized import ChannelScaling
from midge.targets.records import Core


class DepthwiseConv2DS8Quad(DepthwiseConv2DS8):
    """One word brings a tap of four channels; channels past a multiple of four go one by one."""

    name: ClassVar[str] = "depthwise_conv2d_s8_quad__armv7em"
    template: ClassVar[str] = "depthwise_conv2d/armv7em_s8.c.j2"

    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        reason = super().refuse(node, graph, core)
        if reason is not None:
            return reason
        window = depthwise_window(node, graph)
        if window.x.channels != window.y.channels:
            return "the depth multiplier is not 1"
        return "fewer than four channels" if window.x.channels < 4 else None

    def helpers(self, scaling: ChannelScaling) -> tuple[Function, ...]:
        extra = ("load_s8x4", "even_bytes", "odd_bytes", "smlabb", "smlatt")
        return (*super().helpers(scaling), *(render.helper(name) for name in extra))


KERNELS = (DepthwiseConv2DS8Quad(),)
