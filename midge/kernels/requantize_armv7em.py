"""From accumulators to stored values on Armv7E-M, in the form that `staircase` proved."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import packed_scaling
from midge.kernels.assembly import Assembly
from midge.kernels.base import Layout
from midge.kernels.quantized import ChannelScaling, channel_scaling
from midge.kernels.staircase import Literal, Scaling, Staircase, accumulator_range, literal, prove, with_constants


@dataclass(frozen=True, slots=True)
class Scale:
    """What the code that scales an accumulator depends on; the numbers of a channel come in registers."""

    is_literal: bool
    fraction_bits: int
    """Zero bits below an accumulator's point, of which the literal form takes all but one away."""
    shift: int | None
    """None: in a register."""
    lowers: bool
    lift: int | None
    """Bits that accumulators are shifted left by first: the form wants a finer point. None: in a register."""
    layout: Layout
    low: int
    high: int
    """Clamp of the result, as it is before `minus`."""
    minus: int
    """What is taken off the clamped result: the zero point, where the layout holds values without it."""
    rest: int = 0
    """Bits of the shift that are not in the register."""
    low_bits: int = 0
    """Of a channel's packed word (`packed_scaling`); 0: its numbers have words of their own."""

    @property
    def key(self) -> str:
        """For a function's name."""
        kind = "literal" if self.is_literal else "own" if self.shift is None else f"r{self.shift}"
        lift = "xr" if self.lift is None else f"x{self.lift}" if self.lift else ""
        minus = f"m{self.minus}" if self.minus else ""
        packed = f"p{self.low_bits}" if self.low_bits else ""
        return f"{kind}{packed}{'n' if self.lowers else ''}{lift}l{self.low}u{self.high}{minus}".replace("-", "n")

    def unpack(self, word: str, factor: str, part: str, offset: str) -> list[str]:
        """Instructions that make multiplier, shift and offset of a packed word and the layer's factor.

        The multiplier takes the word's register.
        """
        code = [f"and {{{part}}}, {{{word}}}, #15"]
        if self.low_bits == 2:
            code = [f"mov {{{offset}}}, #1", f"lsr {{{part}}}, {{{word}}}, #30", f"bfi {{{part}}}, {{{word}}}, #2, #2",
                    f"bfi {{{word}}}, {{{offset}}}, #30, #2"]  # fmt: skip
        code.append(f"lsl {{{offset}}}, {{{factor}}}, {{{part}}}")
        return code if self.is_literal else [*code, f"add {{{offset}}}, #{packed_scaling.centre(self.rest)}"]

    def steps(self, acc: str, multiplier: str, offset: str, third: str, lift: str = "") -> list[list[str]]:
        """The instructions, in groups that nothing may come between; `third` is the lowering or the shift."""
        saturate = "usat" if self.low == 0 else "ssat"
        clamp = f"{saturate} {{{acc}}}, #8, {{{acc}}}{f', asr #{self.rest}' if self.rest else ''}"
        groups: list[list[str]] = []
        if self.is_literal:
            groups += [
                [f"asr {{{acc}}}, #{self.fraction_bits - 1}"],
                [f"smmulr {{{acc}}}, {{{acc}}}, {{{multiplier}}}"],
                [f"add {{{acc}}}, {{{acc}}}, {{{acc}}}, asr #31"],
                [f"add {{{acc}}}, {{{offset}}}"],
                [f"asr {{{acc}}}, {{{third}}}"],
                [clamp],
            ]
        else:
            if self.lift != 0:
                groups.append([f"lsl {{{acc}}}, {f'{{{lift}}}' if self.lift is None else f'#{self.lift}'}"])
            if self.lowers:
                groups.append([f"cmp {{{acc}}}, #0", "it mi", f"submi {{{acc}}}, {{{third}}}"])
            groups.append([f"smmla {{{acc}}}, {{{acc}}}, {{{multiplier}}}, {{{offset}}}"])
            if self.shift is None:
                groups += [[f"asr {{{acc}}}, {{{third}}}"], [clamp]]
            else:
                groups.append([f"{saturate} {{{acc}}}, #8, {{{acc}}}, asr #{self.shift}"])
        natural = (0, 255) if self.low == 0 else (-128, 127)
        for bound, limit, less in ((self.low, natural[0], "lt"), (self.high, natural[1], "gt")):
            if bound != limit:
                compare = f"cmp {{{acc}}}, #{bound}" if bound >= 0 else f"cmn {{{acc}}}, #{-bound}"
                move = f"mov{less} {{{acc}}}, #{bound}" if bound >= 0 else f"mvn{less} {{{acc}}}, #{-bound - 1}"
                groups.append([compare, f"it {less}", move])
        if self.minus:
            groups.append([f"{'sub' if self.minus > 0 else 'add'} {{{acc}}}, {{{acc}}}, #{abs(self.minus)}"])
        return groups


def merged_scale(scales: Collection[Scale]) -> Scale:
    """The one that does for layers of one `family`: numbers in which they differ come in registers."""
    first = next(iter(scales))
    shift = first.shift if len({scale.shift for scale in scales}) == 1 else None
    lift = first.lift if len({scale.lift for scale in scales}) == 1 else None
    return replace(first, shift=shift, lift=lift)


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
    low_bits: int = 0
    """Of the words that a channel's numbers are packed in; 0: they are not."""

    @property
    def code(self) -> Scale:
        """What the code for these numbers depends on."""
        is_literal = isinstance(self.form, Literal)
        has_shift = isinstance(self.form, Staircase) and not self.form.has_own_shifts
        lowers = isinstance(self.form, Staircase) and self.form.lowerings is not None
        keeps_zero_point = self.layout.fraction_bits is None or self.is_centred
        code = Scale(
            is_literal, self.form.fraction_bits if is_literal else 0,
            int(self.form.shifts[0]) if has_shift else None, lowers, 0 if is_literal else self.lift,
            self.layout, self.low, self.high, 0 if keeps_zero_point else self.zero_point,
        )  # fmt: skip
        if not self.low_bits:
            return code
        rest = packed_scaling.LITERAL_REST if is_literal else self.form.fraction_bits
        return replace(code, shift=None, rest=rest, low_bits=self.low_bits)

    @property
    def family(self) -> Scale:
        """The same for all forms whose code differs in numbers only, which registers can hold."""
        code = self.code
        return code if code.is_literal or code.lowers else replace(code, shift=None, lift=None)

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        return self.code.key

    @property
    def factor(self) -> int:
        """The number that offsets of packed words are made of."""
        return packed_scaling.factor_of(self.form) if self.low_bits else 0

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
        """int32 [channels, 1 to 3]: a packed word; or multiplier, offset, and lowering or shift where there is one."""
        if self.low_bits:
            return packed_scaling.words_of(self.form, self.low_bits)[:, None]
        columns = [self.form.multipliers, self.form.offsets]
        third = self.form.shifts
        if isinstance(self.form, Staircase) and not self.form.has_own_shifts:
            third = self.form.lowerings
        if third is not None:
            columns.append(third)
        return np.stack(columns, axis=1).astype(np.int32)

    def scale(self, code: Assembly, acc: str, multiplier: str, offset: str, third: str) -> None:
        """Instructions that turn an accumulator into the clamped result; `third` is the lowering or shift."""
        for group in self.steps(acc, multiplier, offset, third):
            code.ops(group)

    def steps(self, acc: str, multiplier: str, offset: str, third: str) -> list[list[str]]:
        """The instructions of `scale`, in groups that nothing may come between."""
        return self.code.steps(acc, multiplier, offset, third)


def form_for(scaling: ChannelScaling, biases: np.ndarray, lows: np.ndarray, highs: np.ndarray, fraction_bits: int,
             *, own_shifts: bool = False) -> Staircase | Literal | None:  # fmt: skip
    """The cheapest form for accumulators with these biases and bounds that come with `fraction_bits`.

    A proven one; one for accumulators that are lifted first, which makes their point finer; one with a shift for each
    channel (if `own_shifts`), or with lowerings; or the literal one where it applies. Channels with one result take
    part in any.
    """
    reference = _reference(scaling)
    varies = ~reference.is_constant(lows, highs)
    form = None
    if varies.any():
        form = _form_for(reference.of(varies), biases[varies], lows[varies], highs[varies], fraction_bits, own_shifts)
        if form is None or varies.all():
            return form
    return with_constants(form, varies, reference.results(lows), fraction_bits)


def _reference(scaling: ChannelScaling) -> Scaling:
    return Scaling(
        scaling.multipliers.astype(np.int64), scaling.shifts.astype(np.int64), scaling.rounding,
        scaling.zero_point, scaling.low, scaling.high,
    )  # fmt: skip


def _form_for(reference: Scaling, biases: np.ndarray, lows: np.ndarray, highs: np.ndarray, fraction_bits: int,
              own_shifts: bool) -> Staircase | Literal | None:  # fmt: skip
    proven = prove(reference, biases, lows, highs, fraction_bits=fraction_bits, own_shifts=own_shifts)
    if proven is not None and proven.lowerings is None and not proven.has_own_shifts:
        return proven
    reach = int(max(np.abs(lows).max(), np.abs(highs).max(), np.abs(biases).max(), 1))
    room = 29 - reach.bit_length()
    if room > fraction_bits:
        lifted = prove(reference, biases, lows, highs, fraction_bits=min(room, fraction_bits + _MOST_LIFT))
        if lifted is not None and lifted.lowerings is None and not lifted.has_own_shifts:
            return lifted
    return proven or literal(reference, biases, lows, highs, fraction_bits=fraction_bits)


_MOST_LIFT = 6
_Found = tuple[ChannelScaling, Staircase | Literal | None]
_FORMS: OrderedDict[tuple[Hashable, ...], _Found] = OrderedDict()
_MOST_FORMS = 512


def requantized(node: Node, graph: Graph, layout: Layout, channel_axis: int, *, is_centred: bool,
                fraction_bits: int) -> Requantization | None:  # fmt: skip
    """The requantisation of a node with operands (x, weights, bias), results stored in `layout`; None if there is none.

    `channel_axis` is the weights' axis of output channels; `is_centred` says that the kernel reads x without its zero
    point.
    """
    scaling, form = _kept(node, graph, channel_axis, is_centred, fraction_bits, 0)
    return None if form is None else stored_in(form, scaling, layout, form.fraction_bits - fraction_bits)


def packed_requantized(node: Node, graph: Graph, layout: Layout, channel_axis: int, *, is_centred: bool,
                       fraction_bits: int, low_bits: int) -> Requantization | None:  # fmt: skip
    """The same in words that are packed with so many low bits; as `requantized` has it where it can't be."""
    scaling, form = _kept(node, graph, channel_axis, is_centred, fraction_bits, low_bits)
    if form is None:
        return requantized(node, graph, layout, channel_axis, is_centred=is_centred, fraction_bits=fraction_bits)
    return replace(stored_in(form, scaling, layout, 0), low_bits=low_bits)


def best_low_bits(forms: Callable[[int], Iterable[Requantization]]) -> int:
    """How many low bits most of some layers' forms are packed with; the first number where it makes no difference."""
    return max(packed_scaling.LOW_BITS, key=lambda bits: sum(form.low_bits > 0 for form in forms(bits)))


def _kept(node: Node, graph: Graph, channel_axis: int, is_centred: bool, fraction_bits: int, low_bits: int) -> _Found:
    """Forms are kept: kernels are asked for theirs several times."""
    operands = [graph.values[name] for name in node.inputs[1:] if name is not None]
    x, y = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
    key = (node, *operands, x, y, is_centred, fraction_bits, low_bits)
    if key not in _FORMS:
        _FORMS[key] = _found(node, graph, channel_axis, is_centred, fraction_bits, low_bits)
        if len(_FORMS) > _MOST_FORMS:
            _FORMS.popitem(last=False)
    return _FORMS[key]


def _found(node: Node, graph: Graph, channel_axis: int, is_centred: bool, fraction_bits: int, low_bits: int) -> _Found:
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    flat = np.moveaxis(weights, channel_axis, 0).reshape(weights.shape[channel_axis], -1)
    sums = flat.sum(1, dtype=np.int64)
    scaling = channel_scaling(node, graph, sums)
    zero_point = graph.type(node.inputs[0] or "").zero_point if is_centred else 0
    biases = scaling.bias + zero_point * sums
    lows, highs = accumulator_range(flat, biases, -128 - zero_point, 127 - zero_point)
    if low_bits:
        reference = _reference(scaling)
        return scaling, packed_scaling.packed(
            reference, biases, lows, highs, fraction_bits=fraction_bits, low_bits=low_bits
        )
    return scaling, form_for(scaling, biases, lows, highs, fraction_bits, own_shifts=True)


def stored_in(form: Staircase | Literal, scaling: ChannelScaling, layout: Layout, lift: int) -> Requantization:
    """A form with its results as a layout holds them: where a rectifier ends at the zero point, without it already."""
    is_centred = layout.fraction_bits is not None and scaling.low == scaling.zero_point
    by = -scaling.zero_point if is_centred else 0
    return Requantization(
        form.moved(by), lift, layout, scaling.low + by, scaling.high + by, is_centred, scaling.zero_point
    )
