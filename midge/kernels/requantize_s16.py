"""From 32-bit accumulators to int16 on Armv7E-M: the definitions themselves (docs/numerics.md), in few instructions.

Results of 16 bits have too many steps to search for a cheaper staircase, and need none. With n = 15 - shift,

    REDUCED   (acc * r + 2^(n - 1)) >> n  is  (acc * (r << 32 - n) + 2^31) >> 32:  SMMULR, for 16 <= n <= 32

and where channels have a larger n, all multiply by 2^s times that, and `SMMLA` adds 2^(s - 1) before the shift by s.
DOUBLE is its two roundings. SINGLE, a product in float64, is one in 64 bits (`single_s16` proves it):

    t = acc * low >> 32,  (acc * high + t + (half << 32)) >> 32 + s:  SMMUL, ADD, SMLAL, SSAT

All hold for every accumulator of 32 bits (DOUBLE: of 31), so a layer is refused whose weights allow for larger ones.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels.assembly import Assembly
from midge.kernels.base import Layout
from midge.kernels.quantized_s16 import WideScaling, wide_scaling
from midge.kernels.single_s16 import exact_multiplier
from midge.kernels.staircase import accumulator_range
from midge.ops.base import Rounding
from midge.ops.fixed_point import INT32_MAX, INT32_MIN

LIMITS = (-(2**15), 2**15 - 1)
_MOST_PARAMETERS = 3
_MOST_LITERAL_SHIFT = 22


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A form for a layer: `columns` names what `values`, int32 [channels, columns], are.

    `shift` is the last one, of all channels; None: each has its own, in a column.
    """

    rounding: Rounding
    starts: np.ndarray
    shift: int | None
    columns: tuple[str, ...]
    values: np.ndarray
    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class RequantizationS16:
    """A form, and the layout that its results are stored in."""

    numbers: Numbers
    layout: Layout

    @property
    def low(self) -> int:
        return self.numbers.low

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        numbers = self.numbers
        shift = "own" if numbers.shift is None else numbers.shift
        bounds = "".join(name[0] for name in numbers.columns if name in ("highest", "lowest"))
        return f"{numbers.rounding.value[0]}{shift}{'u' if numbers.low == 0 else ''}{bounds}"

    @property
    def starts(self) -> np.ndarray:
        """int32 [channels]: what accumulators start at."""
        return self.numbers.starts

    @property
    def has_starts(self) -> bool:
        """False where all accumulators start at 0."""
        return bool(self.numbers.starts.any())

    @property
    def parameters(self) -> np.ndarray:
        """int32 [channels, 1 to 3]."""
        return self.numbers.values

    def scale(self, code: Assembly, acc: str, multiplier: str, offset: str, third: str) -> None:
        """Instructions that turn an accumulator into the clamped result."""
        for group in self.steps(acc, multiplier, offset, third):
            code.ops(group)

    def steps(self, acc: str, multiplier: str, offset: str, third: str) -> list[list[str]]:
        """The instructions of `scale`, in groups that nothing may come between."""
        numbers = self.numbers
        at = {name: f"{{{own}}}" for name, own in zip(numbers.columns, (multiplier, offset, third), strict=False)}
        acc, shift, source = f"{{{acc}}}", numbers.shift, f"{{{acc}}}"
        if numbers.rounding is Rounding.SINGLE:
            fraction, whole = at["fraction"], at["half"]
            steps = [
                f"smmul {fraction}, {acc}, {fraction}",
                f"add {whole}, {whole}, {fraction}, asr #31",
                f"smlal {fraction}, {whole}, {acc}, {at['multiplier']}",
            ]
            source = whole
        elif numbers.rounding is Rounding.REDUCED:
            steps = [f"smmla {acc}, {acc}, {at['multiplier']}, {at['half']}" if shift
                     else f"smmulr {acc}, {acc}, {at['multiplier']}"]  # fmt: skip
        else:
            steps = [f"lsl {acc}, #1", f"smmulr {acc}, {acc}, {at['multiplier']}"]
            # A negative value that is rounded wrongly stays negative, and the clamp takes it.
            steps += [] if numbers.low == 0 else [f"add {acc}, {acc}, {acc}, asr #31"]
            steps.append(f"add {acc}, {at['half']}")
            steps += [f"asr {acc}, {at['shift']}"] if shift is None else []
        steps.append(saturated(acc, source, numbers.low, shift or 0))
        return [[step] for step in steps] + bound_steps(acc, at)


def saturated(acc: str, source: str, low: int, shift: int) -> str:
    """The instruction that shifts right and takes to int16, or to 0 and above."""
    saturate, bits = ("usat", 15) if low == 0 else ("ssat", 16)
    return f"{saturate} {acc}, #{bits}, {source}{f', asr #{shift}' if shift else ''}"


def bound_steps(acc: str, at: Mapping[str, str]) -> list[list[str]]:
    """Groups of instructions for bounds that saturation has not; `at` says which registers hold them."""
    return [
        [f"cmp {acc}, {at[name]}", f"it {condition}", f"mov{condition} {acc}, {at[name]}"]
        for name, condition in (("highest", "gt"), ("lowest", "lt"))
        if name in at
    ]


def add_bounds(columns: dict[str, np.ndarray], scaling: WideScaling, channels: int) -> None:
    """Further columns for bounds that saturation has not."""
    natural_low = 0 if scaling.low == 0 else LIMITS[0]
    for name, bound, natural in (("highest", scaling.high, LIMITS[1]), ("lowest", scaling.low, natural_low)):
        if bound != natural:
            columns[name] = np.full(channels, bound)


_NUMBERS: OrderedDict[tuple[Hashable, ...], Numbers | None] = OrderedDict()
_MOST_NUMBERS = 512


def requantized(node: Node, graph: Graph, layout: Layout, channel_axis: int) -> RequantizationS16 | None:
    """The requantisation of a node with operands (x, weights, bias), results stored in `layout`; None if there is none.

    `channel_axis` is the weights' axis of output channels. Forms are kept: kernels are asked for theirs several times.
    """
    operands = [graph.values[name] for name in node.inputs[1:] if name is not None]
    key = (node, *operands, graph.type(node.inputs[0] or ""), graph.type(node.outputs[0]))
    if key not in _NUMBERS:
        weights = graph.constant(node.inputs[1])
        assert weights is not None
        scaling = wide_scaling(node, graph, channel_axis, node.op.rounding)  # type: ignore[attr-defined]
        flat = np.moveaxis(weights, channel_axis, 0).reshape(len(scaling.bias), -1)
        _NUMBERS[key] = numbers_for(scaling, *accumulator_range(flat, scaling.bias, *LIMITS))
        if len(_NUMBERS) > _MOST_NUMBERS:
            _NUMBERS.popitem(last=False)
    numbers = _NUMBERS[key]
    return None if numbers is None else RequantizationS16(numbers, layout)


def numbers_for(scaling: WideScaling, lows: np.ndarray, highs: np.ndarray) -> Numbers | None:
    """The form for accumulators in [low, high] of each channel; None where they need more bits, or more registers."""
    if lows.min() < INT32_MIN or highs.max() > INT32_MAX:
        return None
    found = {Rounding.REDUCED: _reduced, Rounding.DOUBLE: _double, Rounding.SINGLE: _single}[scaling.rounding](
        scaling, lows, highs
    )
    if found is None:
        return None
    shift, columns = found
    add_bounds(columns, scaling, len(lows))
    if len(columns) > _MOST_PARAMETERS:
        return None
    values = np.stack(list(columns.values()), axis=1).astype(np.int32)
    starts = scaling.bias.astype(np.int32)
    return Numbers(scaling.rounding, starts, shift, tuple(columns), values, scaling.low, scaling.high)


Form = tuple[int | None, dict[str, np.ndarray]]
"""The last shift and the columns."""


def _reduced(scaling: WideScaling, lows: np.ndarray, highs: np.ndarray) -> Form | None:
    reach = np.maximum(np.abs(lows), np.abs(highs))
    bits = 15 - scaling.shifts.astype(np.int64)
    varies = reach * scaling.multipliers >= np.int64(1) << (bits - 1)
    """Of the other channels all results are 0."""
    shift = max(0, int(bits[varies].max(initial=0)) - 32)
    left = np.where(varies, 32 + shift - bits, 0)
    if left.max() > 16:
        return None
    columns = {"multiplier": np.where(varies, scaling.multipliers << left, 0)}
    if shift:
        columns["half"] = np.full(len(lows), 1 << (shift - 1))
    return shift, columns


def _double(scaling: WideScaling, lows: np.ndarray, highs: np.ndarray) -> Form | None:
    shifts = -scaling.shifts.astype(np.int64)
    vanishes = scaling.multipliers == 0
    shifts = np.where(vanishes, shifts[~vanishes].min(initial=_MOST_LITERAL_SHIFT), shifts)
    fits = lows.min() >= INT32_MIN // 2 and highs.max() <= INT32_MAX // 2
    if not fits or shifts.min() < 1 or shifts.max() > _MOST_LITERAL_SHIFT:
        return None
    columns = {"multiplier": scaling.multipliers, "half": np.int64(1) << (shifts - 1)}
    if np.all(shifts == shifts[0]):
        return int(shifts[0]), columns
    return None, {**columns, "shift": shifts}


def _single(scaling: WideScaling, lows: np.ndarray, highs: np.ndarray) -> Form | None:
    shift = int(np.floor(-1.001 - np.log2(scaling.reals.max())))
    if not 1 <= shift <= 30:
        return None
    found = [
        exact_multiplier(real, low, high, shift)
        for real, low, high in zip(scaling.reals.tolist(), lows.tolist(), highs.tolist(), strict=True)
    ]
    if None in found:
        return None
    words = [divmod((multiplier or 0) + 2**31, 2**32) for multiplier in found]
    columns = {
        "fraction": np.array([low - 2**31 for _, low in words]),
        "multiplier": np.array([high for high, _ in words]),
        "half": np.full(len(lows), 1 << (shift - 1)),
    }
    return shift, columns
