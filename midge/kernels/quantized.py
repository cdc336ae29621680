"""What the int8 kernels share: biases with the zero point folded in, and scales of each channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Constant, Function
from midge.ops.base import Rounding, quantized_bounds


@dataclass(frozen=True, slots=True, eq=False)
class ChannelScaling:
    """From accumulators to int8: start values, multipliers (Q31), shifts (left is positive), zero point and clamp."""

    bias: np.ndarray
    multipliers: np.ndarray
    shifts: np.ndarray
    rounding: Rounding
    zero_point: int
    low: int
    high: int

    @property
    def is_shared(self) -> bool:
        """True where all channels have one multiplier and shift."""
        return len(set(zip(self.multipliers.tolist(), self.shifts.tolist(), strict=True))) == 1

    @property
    def key(self) -> str:
        """What a function that scales this way depends on, in its name."""
        shared = f"m{self.multipliers[0]}h{-self.shifts[0]}" if self.is_shared else ""
        text = f"_{self.rounding.value[0]}z{self.zero_point}l{self.low}u{self.high}{shared}"
        return text.replace("-", "n")

    @property
    def constants(self) -> tuple[Constant, ...]:
        bias = Constant("bias", self.bias.astype(np.int32))
        if self.is_shared:
            return (bias,)
        return (bias, Constant("multipliers", self.multipliers.astype(np.int32)),
                Constant("shifts", self.shifts.astype(np.int8)))  # fmt: skip

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(constant.role for constant in self.constants)

    @property
    def acc(self) -> str:
        """The C type of the accumulators."""
        return "int32_t"

    @property
    def helpers(self) -> tuple[Function, ...]:
        return render.scale_helper(self.rounding), render.helper("clamp")

    @property
    def parameters(self) -> str:
        """The C parameters that take `constants`."""
        text = "const int32_t *bias"
        if not self.is_shared:
            text += ", const int32_t *multipliers, const int8_t *shifts"
        return text

    def scaled(self, acc: str, channel: str) -> str:
        """C expression of the clamped int32 result of channel `channel`."""
        multiplier = f"{self.multipliers[0]}" if self.is_shared else f"multipliers[{channel}]"
        shift = f"{self.shifts[0]}" if self.is_shared else f"shifts[{channel}]"
        value = f"midge_scale_{self.rounding.value}({acc}, {multiplier}, {shift})"
        if self.zero_point:
            value += f" {'+' if self.zero_point > 0 else '-'} {abs(self.zero_point)}"
        return f"midge_clamp({value}, {self.low}, {self.high})"


def channel_scaling(node: Node, graph: Graph, weight_sums: np.ndarray) -> ChannelScaling:
    """The scaling of a node with operands (x, weights, bias): `bias - zero point of x * sum of the weights`.

    Raises UnsupportedError where an accumulator could leave 32 bits.
    """
    x, weights, y = graph.type(node.inputs[0] or ""), graph.type(node.inputs[1] or ""), graph.type(node.outputs[0])
    data = graph.constant(node.inputs[1])
    assert data is not None
    channels = weight_sums.shape[0]
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    start = np.zeros(channels, np.int64) if bias is None else bias.astype(np.int64)
    start = start - x.zero_point * weight_sums
    reach = np.abs(start).max() + 128 * np.abs(data.astype(np.int64)).sum()
    if reach >= 2**31:
        refuse_overflow(node, graph, _exact_reach(data, start, channels))
    multipliers, shifts = node.op.requantization(x, weights, y)  # type: ignore[attr-defined]
    low, high = quantized_bounds(node.op.activation, y)  # type: ignore[attr-defined]
    return ChannelScaling(
        start, np.broadcast_to(multipliers, (channels,)), np.broadcast_to(shifts, (channels,)),
        node.op.rounding, y.zero_point, low, high,  # type: ignore[attr-defined]
    )  # fmt: skip


def refuse_overflow(node: Node, graph: Graph, reach: int) -> None:
    """Raise UnsupportedError where an accumulator's magnitude could go as far as `reach`, past 32 bits."""
    if reach >= 2**31:
        raise UnsupportedError(
            f"{graph.name}, layer {node.name}", "the accumulator can leave 32 bits", "", "Rescale the weights"
        )


def _exact_reach(data: np.ndarray, start: np.ndarray, channels: int) -> int:
    """The largest magnitude that one channel's accumulator can take."""
    axis = 0 if data.shape[0] == channels else data.ndim - 1
    sums = np.abs(data.astype(np.int64)).sum(tuple(i for i in range(data.ndim) if i != axis))
    return int((np.abs(start) + 128 * sums).max())
