"""Copies into and out of the layout of depthwise convolutions."""

from __future__ import annotations

from midge.kernels.copy.armv7em import CopyLayout
from midge.kernels.layouts import NATURAL, PLANES

KERNELS = (
    CopyLayout("copy_s8_planes__rv32", NATURAL, PLANES),
    CopyLayout("copy_s8_from_planes__rv32", PLANES, NATURAL),
)
