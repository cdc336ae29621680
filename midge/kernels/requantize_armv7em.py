"""From accumulators to stored values on Armv7E-M, in the form that `staircase` proved."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels.assembly import Assembly
from midge.kernels.base import Layout
from midge.kernels.quantized import ChannelScaling, channel_scaling
from midge.kernels.staircase import Literal, Scaling, Staircase, accumulator_range, literal, prove


@dataclass(frozen=True, slots=True, eq=False)
class Requantization:
    """A proven form and the layout that its results are stored in."""

    form: Staircase | Literal
    lift: int
    """Bits that accumulators are shifted left by before they are scaled: the form wants a finer point."""
    layout: Layout
    low: int
    high: int
    """Clamp of the result: of q, or of q minus its zero point where `is_centred`."""
    is_centred: bool
    zero_point: int

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        kind = f"r{self.form.shift}" if isinstance(self.form, Staircase) else "literal"
        lowered = "n" if isinstance(self.form, Staircase) and self.form.lowerings is not None else ""
        bounds = f"l{self.low}u{self.high}z{self.zero_point}".replace("-", "n")
        return f"{kind}{lowered}{f'x{self.lift}' if self.lift else ''}{bounds}{'c' if self.is_centred else ''}"

    @property
    def starts(self) -> np.ndarray:
        """int32 [channels]: what accumulators start at."""
        return (self.form.starts >> self.lift).astype(np.int32)

    @property
    def has_starts(self) -> bool:
        """False where all accumulators start at 0."""
        return bool(self.form.starts.any())

    @property
    def parameters(self) -> np.ndarray:
        """int32 [channels, 2 or 3]: multiplier, offset, and the lowering or shift where there is one."""
        columns = [self.form.multipliers, self.form.offsets]
        third = self.form.shifts if isinstance(self.form, Literal) else self.form.lowerings
        if third is not None:
            columns.append(third)
        return np.stack(columns, axis=1).astype(np.int32)

    def scale(self, code: Assembly, acc: str, multiplier: str, offset: str, third: str) -> None:
        """Instructions that turn an accumulator into the clamped result; `third` is the lowering or shift."""
        saturate = "usat" if self.low == 0 else "ssat"
        if isinstance(self.form, Literal):
            code.ops([
                f"asr {{{acc}}}, #{self.form.fraction_bits - 1}",
                f"smmulr {{{acc}}}, {{{acc}}}, {{{multiplier}}}",
                f"add {{{acc}}}, {{{acc}}}, {{{acc}}}, asr #31",
                f"add {{{acc}}}, {{{offset}}}",
                f"asr {{{acc}}}, {{{third}}}",
                f"{saturate} {{{acc}}}, #8, {{{acc}}}",
            ])  # fmt: skip
        else:
            if self.lift:
                code.op(f"lsl {{{acc}}}, #{self.lift}")
            if self.form.lowerings is not None:
                code.ops([f"cmp {{{acc}}}, #0", "it mi", f"submi {{{acc}}}, {{{third}}}"])
            code.op(f"smmla {{{acc}}}, {{{acc}}}, {{{multiplier}}}, {{{offset}}}")
            code.op(f"{saturate} {{{acc}}}, #8, {{{acc}}}, asr #{self.form.shift}")
        natural = (0, 255) if self.low == 0 else (-128, 127)
        for bound, limit, less in ((self.low, natural[0], "lt"), (self.high, natural[1], "gt")):
            if bound != limit:
                compare = f"cmp {{{acc}}}, #{bound}" if bound >= 0 else f"cmn {{{acc}}}, #{-bound}"
                move = f"mov{less} {{{acc}}}, #{bound}" if bound >= 0 else f"mvn{less} {{{acc}}}, #{-bound - 1}"
                code.ops([compare, f"it {less}", move])
        if self.layout.fraction_bits is not None and not self.is_centred and self.zero_point:
            sign = "sub" if self.zero_point > 0 else "add"
            code.op(f"{sign} {{{acc}}}, {{{acc}}}, #{abs(self.zero_point)}")


def form_for(scaling: ChannelScaling, biases: np.ndarray, lows: np.ndarray, highs: np.ndarray, fraction_bits: int
             ) -> Staircase | Literal | None:  # fmt: skip
    """The cheapest form for accumulators with these biases and bounds that come with `fraction_bits`.

    A proven one without lowerings; one for accumulators that are lifted first, which makes their point finer; one with
    lowerings; or the literal one where it applies.
    """
    reference = Scaling(
        scaling.multipliers.astype(np.int64), scaling.shifts.astype(np.int64), scaling.rounding,
        scaling.zero_point, scaling.low, scaling.high,
    )  # fmt: skip
    proven = prove(reference, biases, lows, highs, fraction_bits=fraction_bits)
    if proven is not None and proven.lowerings is None:
        return proven
    reach = int(max(np.abs(lows).max(), np.abs(highs).max(), np.abs(biases).max(), 1))
    room = 29 - reach.bit_length()
    if room > fraction_bits:
        lifted = prove(reference, biases, lows, highs, fraction_bits=min(room, fraction_bits + _MOST_LIFT))
        if lifted is not None and lifted.lowerings is None:
            return lifted
    return proven or literal(reference, biases, lows, highs, fraction_bits=fraction_bits)


_MOST_LIFT = 6
_FORMS: OrderedDict[tuple[Hashable, ...], tuple[ChannelScaling, Staircase | Literal | None]] = OrderedDict()
_MOST_FORMS = 512


def requantized(node: Node, graph: Graph, layout: Layout, channel_axis: int, *, is_centred: bool,
                fraction_bits: int) -> Requantization | None:  # fmt: skip
    """The requantisation of a node with operands (x, weights, bias), results stored in `layout`; None if there is none.

    `channel_axis` is the weights' axis of output channels; `is_centred` says that the kernel reads x without its zero
    point. Forms are kept: kernels are asked for theirs several times.
    """
    operands = [graph.values[name] for name in node.inputs[1:] if name is not None]
    x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
    key = (node, *operands, x, y, is_centred, fraction_bits)
    if key not in _FORMS:
        _FORMS[key] = _found(node, graph, channel_axis, is_centred, fraction_bits)
        if len(_FORMS) > _MOST_FORMS:
            _FORMS.popitem(last=False)
    scaling, form = _FORMS[key]
    return None if form is None else stored_in(form, scaling, layout, form.fraction_bits - fraction_bits)


def _found(node: Node, graph: Graph, channel_axis: int, is_centred: bool, fraction_bits: int
           ) -> tuple[ChannelScaling, Staircase | Literal | None]:  # fmt: skip
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    flat = np.moveaxis(weights, channel_axis, 0).reshape(weights.shape[channel_axis], -1)
    sums = flat.sum(1, dtype=np.int64)
    scaling = channel_scaling(node, graph, sums)
    zero_point = graph.type(node.inputs[0] or "").zero_point if is_centred else 0
    biases = scaling.bias + zero_point * sums
    lows, highs = accumulator_range(flat, biases, -128 - zero_point, 127 - zero_point)
    return scaling, form_for(scaling, biases, lows, highs, fraction_bits)


def stored_in(form: Staircase | Literal, scaling: ChannelScaling, layout: Layout, lift: int) -> Requantization:
    """A form with its results as a layout holds them: where a rectifier ends at the zero point, without it already."""
    is_centred = layout.fraction_bits is not None and scaling.low == scaling.zero_point
    by = -scaling.zero_point if is_centred else 0
    return Requantization(
        form.moved(by), lift, layout, scaling.low + by, scaling.high + by, is_centred, scaling.zero_point
    )
