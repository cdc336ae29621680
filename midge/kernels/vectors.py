"""What the kernels for this computer share: products of matrices, in blocks of pixels by channels.

The C is the same for all processors but for the innermost product (`common/host_dot.c.j2`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midge.kernels import render
from midge.kernels.base import Constant, Function
from midge.kernels.floating import FloatClamp
from midge.kernels.quantized import ChannelScaling
from midge.kernels.view import TaskView
from midge.ops.base import Rounding

LANES = 16
"""Channels in a block: the 32-bit lanes of the widest vectors."""
QUAD = 4
"""Neighbouring products that int8 processors add at once."""
SUMS = 8
"""Sums that are in registers at once; the least that all processors have is 16."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A product: for each of `columns` pixels, `outputs` channels from `taps` runs of `run` neighbouring values.

    Run k starts at row `k // runs`, `pixel_step` values further for each pixel, `run_step` for each run of a row.
    """

    columns: int
    outputs: int
    taps: int
    runs: int
    run: int
    pixel_step: int
    run_step: int

    @property
    def padded_run(self) -> int:
        return -(-self.run // QUAD) * QUAD

    @property
    def padded_outputs(self) -> int:
        return -(-self.outputs // LANES) * LANES

    @property
    def pixels(self) -> int:
        """Pixels of a block."""
        return min(self.columns, SUMS)

    def blocks(self, pixels: int) -> int:
        """Blocks of channels that go with so many pixels."""
        return max(1, min(self.padded_outputs // LANES, SUMS // pixels))


def scale_function(scaling: ChannelScaling) -> Function:
    """The function that scales an accumulator: one in 64 bits throughout where there is one."""
    if scaling.rounding is Rounding.DOUBLE and np.all(scaling.shifts <= 0):
        return render.helper("host_scale")
    return render.scale_helper(scaling.rounding)


def scaled(scaling: ChannelScaling, acc: str, channel: str) -> str:
    """C expression of the clamped int32 result of channel `channel`."""
    general = render.scale_helper(scaling.rounding).name
    return scaling.scaled(acc, channel).replace(general, scale_function(scaling).name)


def product_s8(stem: str, title: str, shape: Shape, scaling: ChannelScaling) -> tuple[Function, ...]:
    """The function that makes a row of int8, the last one, after those that it calls."""
    parameters = "" if scaling.is_shared else ", const int32_t *restrict multipliers, const int8_t *restrict shifts"
    kernel = render.specialised(
        "conv2d/host_s8.c.j2", stem, title=title, shape=shape, parameters=parameters,
        scaled=scaled(scaling, "acc[n]", "n"),
    )  # fmt: skip
    return (scale_function(scaling), render.helper("clamp"), render.helper("host_dot"), kernel)


def product_f32(stem: str, title: str, shape: Shape, clamp: FloatClamp) -> tuple[Function, ...]:
    """The same for float32."""
    kernel = render.specialised("conv2d/host_f32.c.j2", stem, title=title, shape=shape, clamp=clamp)
    return (*clamp.helpers, render.helper("host_floats"), kernel)


def constants_s8(runs: np.ndarray, scaling: ChannelScaling) -> tuple[Constant, ...]:
    """Weights [O, taps, run] as [blocks of channels][taps][quads][lane][4], start values of sums (plain, and for inputs
    that are taken as q + 128), and what scales sums."""
    outputs, taps, run = runs.shape
    padded = np.pad(runs, ((0, -outputs % LANES), (0, 0), (0, -run % QUAD)))
    packed = padded.reshape(padded.shape[0] // LANES, LANES, taps, padded.shape[2] // QUAD, QUAD)
    start = np.pad(scaling.bias, (0, -outputs % LANES))
    # Modulo 2^32, as the sums are; what they end as is in range.
    excess = (start - 128 * padded.sum((1, 2), dtype=np.int64)) & 0xFFFFFFFF
    return (
        Constant("weights", np.ascontiguousarray(packed.transpose(0, 2, 3, 1, 4)), 64),
        Constant("start", np.stack([start.astype(np.int32), excess.astype(np.uint32).view(np.int32)])),
        *(constant for constant in scaling.constants if constant.role != "bias"),
    )


def constants_f32(runs: np.ndarray, bias: np.ndarray) -> tuple[Constant, ...]:
    """Weights [O, taps, run] as [blocks of channels][taps][run][lane], and the bias."""
    outputs, taps, run = runs.shape
    padded = np.pad(runs, ((0, -outputs % LANES), (0, 0), (0, 0)))
    packed = padded.reshape(padded.shape[0] // LANES, LANES, taps, run)
    return (Constant("weights", np.ascontiguousarray(packed.transpose(0, 2, 3, 1)), 64), Constant("bias", bias))


def body_s8(
    view: TaskView, kernel: Function, shape: Shape, scaling: ChannelScaling, rows: Sequence[str], out: str
) -> str:
    """The body of a layer: the rows of its taps, then the product."""
    start = f"{view.constant('start')} + MIDGE_EXCESS * {shape.padded_outputs}"
    others = [view.constant(role) for role in scaling.roles if role != "bias"]
    return render.render(
        "conv2d/host_layer.c.j2", element="int8_t", rows=rows, call=kernel.name, out=out,
        arguments=[view.constant("weights"), start, *others],
    )  # fmt: skip


def body_f32(view: TaskView, kernel: Function, rows: Sequence[str], out: str) -> str:
    """The same for float32."""
    return render.render(
        "conv2d/host_layer.c.j2", element="midge_f32", rows=rows, call=kernel.name, out=out,
        arguments=[view.constant("weights"), view.constant("bias")],
    )  # fmt: skip
