"""From 64-bit accumulators to int16 on Armv7E-M, with REDUCED rounding (docs/numerics.md).

With n = 15 - shift and M = r * 2^(32 + s - n), `(acc * r + 2^(n - 1)) >> n` is the upper word of `acc * M` (UMULL and
MLA), plus 2^(s - 1), shifted right by s. The product stays within 64 bits, or there is no such form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels.assembly import Assembly
from midge.kernels.base import Layout
from midge.kernels.quantized_s16 import WideScaling, wide_scaling
from midge.kernels.requantize_s16 import LIMITS, add_bounds, bound_steps, saturated
from midge.kernels.staircase import accumulator_range
from midge.ops.base import Rounding

_MOST_PARAMETERS = 2


@dataclass(frozen=True, slots=True, eq=False)
class LongRequantization:
    """An accumulator `a` lies in two registers, named `a` and `ah`; x0 and x1 are spent."""

    layout: Layout
    starts: np.ndarray
    """int32 [channels, 2]: lower and upper words."""
    shift: int
    columns: tuple[str, ...]
    parameters: np.ndarray
    """int32 [channels, columns]."""
    low: int

    @property
    def has_starts(self) -> bool:
        return bool(self.starts.any())

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        bounds = "".join(name[0] for name in self.columns[1:])
        return f"w{self.shift}{'u' if self.low == 0 else ''}{bounds}"

    def scale(self, code: Assembly, acc: str, multiplier: str, offset: str, third: str) -> None:
        for group in self.steps(acc, multiplier, offset, third):
            code.ops(group)

    def steps(self, acc: str, multiplier: str, offset: str, third: str) -> list[list[str]]:
        """The instructions, in groups that nothing may come between."""
        del third
        at = {name: f"{{{own}}}" for name, own in zip(self.columns, (multiplier, offset), strict=False)}
        half = f"#{1 << (self.shift - 1)}" if self.shift else "{x0}, lsr #31"
        return [
            [f"umull {{x0}}, {{x1}}, {{{acc}}}, {{{multiplier}}}"],
            [f"mla {{x1}}, {{{acc}h}}, {{{multiplier}}}, {{x1}}"],
            [f"add {{x1}}, {{x1}}, {half}"],
            [saturated(f"{{{acc}}}", "{x1}", self.low, self.shift)],
            *bound_steps(f"{{{acc}}}", at),
        ]


def requantized(node: Node, graph: Graph, layout: Layout, channel_axis: int) -> LongRequantization | None:
    """The requantisation of a node with operands (x, weights, bias), results in `layout`; None if there is none."""
    weights, rounding = graph.constant(node.inputs[1]), node.op.rounding  # type: ignore[attr-defined]
    assert weights is not None
    if rounding is not Rounding.REDUCED:
        return None
    scaling = wide_scaling(node, graph, channel_axis, rounding)
    flat = np.moveaxis(weights, channel_axis, 0).reshape(len(scaling.bias), -1)
    return form_for(scaling, *accumulator_range(flat, scaling.bias, *LIMITS), layout)


def form_for(scaling: WideScaling, lows: np.ndarray, highs: np.ndarray, layout: Layout) -> LongRequantization | None:
    """The form for accumulators in [low, high] of each channel."""
    reach = [max(abs(low), abs(high)) for low, high in zip(lows.tolist(), highs.tolist(), strict=True)]
    shift = max(0, 15 - int(scaling.shifts.min()) - 32)
    left = 17 + shift + scaling.shifts.astype(np.int64)
    multipliers = [int(r) << int(by) for r, by in zip(scaling.multipliers, left, strict=True) if by >= 0]
    fits = len(multipliers) == len(reach) and max(multipliers) < 2**32 and shift < 32
    if not fits or max(a * m for a, m in zip(reach, multipliers, strict=True)) >= 2**62:
        return None
    columns = {"multiplier": np.array(multipliers, np.uint32).view(np.int32)}
    add_bounds(columns, scaling, len(reach))
    if len(columns) > _MOST_PARAMETERS:
        return None
    starts = np.ascontiguousarray(scaling.bias.astype("<i8")).view(np.int32).reshape(-1, 2)
    values = np.stack(list(columns.values()), axis=1).astype(np.int32)
    return LongRequantization(layout, starts, shift, tuple(columns), values, scaling.low)
