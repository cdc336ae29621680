"""What kernels of int16 activations and int8 weights share: wide accumulators, and their way back to int16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Constant, Function
from midge.kernels.quantized import ChannelScaling
from midge.ops.base import Rounding, quantized_bounds
from midge.ops.fixed_point import reduced_multiplier
from midge.ops.windows import effective_scales

_SCALES = {Rounding.REDUCED: "reduced", Rounding.DOUBLE: "double", Rounding.SINGLE: "real"}


@dataclass(frozen=True, slots=True, eq=False)
class WideScaling:
    """From accumulators to int16 without zero points; what `ChannelScaling` is to int8.

    `reach` is the largest magnitude that an accumulator can have; with a bias of 32 bits it `wraps` at 32. REDUCED and
    DOUBLE have multipliers (of 15 and 31 bits) and shifts (left is positive), SINGLE has the `reals` themselves:
    float64, as its definition says.
    """

    bias: np.ndarray
    multipliers: np.ndarray
    shifts: np.ndarray
    reals: np.ndarray
    rounding: Rounding
    low: int
    high: int
    reach: int
    wraps: bool

    @property
    def acc(self) -> str:
        """The C type of the accumulators."""
        return "int32_t" if self.reach < 2**31 else "int64_t"

    @property
    def is_shared(self) -> bool:
        """True where all channels have one scale."""
        scales = zip(self.multipliers.tolist(), self.shifts.tolist(), self.reals.tolist(), strict=True)
        return len(set(scales)) == 1

    @property
    def key(self) -> str:
        """What a function that scales this way depends on, in its name."""
        shared = ""
        if self.is_shared:
            real = float(self.reals[0]).hex().replace("0x1.", "").replace(".", "").replace("+", "")
            shared = f"r{real}" if self.rounding is Rounding.SINGLE else f"m{self.multipliers[0]}h{-self.shifts[0]}"
        wide = ("v" if self.wraps else "w") if self.acc == "int64_t" else ""
        wide += "b" if self._bias_type == "int64_t" else ""
        return f"_{self.rounding.value[0]}{wide}l{self.low}u{self.high}{shared}".replace("-", "n")

    @property
    def _bias_type(self) -> str:
        return "int32_t" if np.abs(self.bias).max(initial=0) < 2**31 else "int64_t"

    @property
    def constants(self) -> tuple[Constant, ...]:
        bias = Constant("bias", self.bias.astype(np.int32 if self._bias_type == "int32_t" else np.int64))
        return (bias, *self.scale_constants)

    @property
    def scale_constants(self) -> tuple[Constant, ...]:
        """Those that belong to scales which channels do not share."""
        if self.is_shared:
            return ()
        if self.rounding is Rounding.SINGLE:
            return (Constant("scales", self.reals),)
        narrow = np.int16 if self.rounding is Rounding.REDUCED else np.int32
        return (Constant("multipliers", self.multipliers.astype(narrow)),
                Constant("shifts", self.shifts.astype(np.int8)))  # fmt: skip

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(constant.role for constant in self.constants)

    @property
    def parameters(self) -> str:
        """The C parameters that take `constants`."""
        return f"const {self._bias_type} *bias{self.scale_parameters}"

    @property
    def scale_parameters(self) -> str:
        """The further C parameters that take `scale_constants`."""
        if self.is_shared:
            return ""
        if self.rounding is Rounding.SINGLE:
            return ", const double *scales"
        narrow = "int16_t" if self.rounding is Rounding.REDUCED else "int32_t"
        return f", const {narrow} *multipliers, const int8_t *shifts"

    @property
    def helpers(self) -> tuple[Function, ...]:
        return render.helper(f"scale_{_SCALES[self.rounding]}"), render.helper("clamp")

    def scaled(self, acc: str, channel: str) -> str:
        """C expression of the clamped int32 result of channel `channel`."""
        acc = f"(int32_t){acc}" if self.wraps and self.acc == "int64_t" else acc
        if self.rounding is Rounding.SINGLE:
            real = float(self.reals[0]).hex() if self.is_shared else f"scales[{channel}]"
            return f"midge_scale_real({acc}, {real}, {self.low}, {self.high})"
        multiplier = f"{self.multipliers[0]}" if self.is_shared else f"multipliers[{channel}]"
        shift = f"{self.shifts[0]}" if self.is_shared else f"shifts[{channel}]"
        return f"midge_clamp(midge_scale_{self.rounding.value}({acc}, {multiplier}, {shift}), {self.low}, {self.high})"


Scaling = ChannelScaling | WideScaling


def wide_scaling(node: Node, graph: Graph, channel_axis: int, rounding: Rounding) -> WideScaling:
    """The scaling of a node with operands (x int16, weights int8, bias)."""
    x, weights, y = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0])
    data = graph.constant(node.inputs[1])
    assert data is not None
    channels = data.shape[channel_axis]
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    start = np.zeros(channels, np.int64) if bias is None else bias.astype(np.int64)
    others = tuple(axis for axis in range(data.ndim) if axis != channel_axis)
    reach = int((np.abs(start) + 2**15 * np.abs(data.astype(np.int64)).sum(axis=others)).max())
    multipliers, shifts = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    if rounding is not Rounding.SINGLE:
        multipliers, shifts = node.op.requantization(x, weights, y)  # type: ignore[attr-defined]
        multipliers = np.broadcast_to(multipliers.astype(np.int64), (channels,))
        multipliers = reduced_multiplier(multipliers) if rounding is Rounding.REDUCED else multipliers
    reals = np.array(effective_scales(x, weights, y, channels))
    low, high = quantized_bounds(node.op.activation, y)  # type: ignore[attr-defined]
    wraps = bias is not None and bias.dtype == np.int32
    shifts = np.broadcast_to(shifts, (channels,))
    return WideScaling(start, multipliers, shifts, reals, rounding, low, high, reach, wraps)
