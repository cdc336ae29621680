"""What the kernels for this computer share: C that compilers turn into whatever vectors the processor has."""

from __future__ import annotations

import numpy as np

from midge.kernels import render
from midge.kernels.base import Constant, Function
from midge.kernels.quantized import ChannelScaling
from midge.ops.base import Rounding

LANES = 16
"""Channels in a block: the 32-bit lanes of the widest vectors."""
QUAD = 4
"""Neighbouring products that are added at once."""


def scale_function(scaling: ChannelScaling) -> Function:
    """`midge_host_scale_…(acc, multiplier, shift)`, in 64 bits throughout, so that compilers make vectors of it."""
    if scaling.rounding is Rounding.DOUBLE and np.all(scaling.shifts <= 0):
        return Function("midge_host_scale", render.render("common/host_scale.c.j2").strip() + "\n")
    return render.scale_helper(scaling.rounding)


def scaled(scaling: ChannelScaling, acc: str, channel: str) -> str:
    """C expression of the clamped int32 result of channel `channel`."""
    name = f"midge_scale_{scaling.rounding.value}"
    return scaling.scaled(acc, channel).replace(name, scale_function(scaling).name)


def pack_quads(runs: np.ndarray) -> np.ndarray:
    """Weights [O, runs, length] as [blocks of channels][runs][quads][lane][4], filled up with zeros."""
    outputs, count, length = runs.shape
    padded = np.pad(runs, ((0, -outputs % LANES), (0, 0), (0, -length % QUAD)))
    blocks, quads = padded.shape[0] // LANES, padded.shape[2] // QUAD
    return np.ascontiguousarray(padded.reshape(blocks, LANES, count, quads, QUAD).transpose(0, 2, 3, 1, 4))


def pack_lanes(runs: np.ndarray) -> np.ndarray:
    """Weights [O, runs, length] as [blocks of channels][runs][length][lane], filled up with zeros."""
    outputs, count, length = runs.shape
    padded = np.pad(runs, ((0, -outputs % LANES), (0, 0), (0, 0)))
    blocks = padded.shape[0] // LANES
    return np.ascontiguousarray(padded.reshape(blocks, LANES, count, length).transpose(0, 2, 3, 1))


def start_constants(scaling: ChannelScaling, weight_sums: np.ndarray) -> tuple[Constant, ...]:
    """Start values of the accumulators, for whole blocks: plain, and for processors that take inputs as q + 128."""
    missing = -len(scaling.bias) % LANES
    plain = np.pad(scaling.bias, (0, missing))
    excess = plain - 128 * np.pad(weight_sums, (0, missing))
    return (
        Constant("start", plain.astype(np.int32)),
        # Sums are taken modulo 2^32; what they end as is in range.
        Constant("start_excess", (excess & 0xFFFFFFFF).astype(np.uint32).view(np.int32)),
    )
