"""From accumulators to stored values with Helium: four lanes at a time, in a form that `staircase` proved.

The form is `(offset + (lifted acc * multiplier >> 32)) >> shift`. `VQDMULH` doubles its product, so an accumulator
lifted by one bit less comes to the same. Results are narrowed with eight bits below their point: saturation to 16 bits
is then saturation to int8, and two vectors of four become one of eight.

Where nothing cheaper is proven: the reference's own double rounding, `VQRDMULH`, one taken off what is negative, and a
shift for each channel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels.assembly import Assembly
from midge.kernels.quantized import ChannelScaling, channel_scaling
from midge.kernels.staircase import Literal, Scaling, Staircase, accumulator_range, literal, prove

NARROWED_BITS = 8
"""Bits below the point in 16-bit lanes."""
_MOST_LIFT = 8


@dataclass(frozen=True, slots=True, eq=False)
class Requantization:
    """A form for all channels of a layer, and the clamp of its results."""

    form: Staircase | Literal
    low: int
    high: int

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        kind = f"r{self.form.shift}f{self.form.fraction_bits}" if isinstance(self.form, Staircase) else "literal"
        return f"{kind}{'b' if self.has_bias else ''}l{self.low}u{self.high}".replace("-", "n")

    @property
    def has_bias(self) -> bool:
        """Sums of products still lack a bias; else it is part of the offset."""
        return isinstance(self.form, Literal) or bool(np.any(self.form.starts))

    @property
    def parameters(self) -> np.ndarray:
        """int32 [2 to 4, channels]: biases where sums lack them, multipliers, offsets, shifts where they differ."""
        form = self.form
        offsets = form.offsets.astype(np.int64)
        columns = [form.starts >> form.fraction_bits] if self.has_bias else []
        columns.append(form.multipliers)
        if isinstance(form, Literal):
            columns += [offsets, NARROWED_BITS - form.shifts]
        elif form.shift > NARROWED_BITS:
            # VQRSHRN adds a half. (VQSHRN does not, but GNU as 2.40 makes the code of VQRSHRN of it.)
            columns.append(offsets - (1 << (form.shift - NARROWED_BITS - 1)))
        else:
            columns.append(offsets)
        return np.stack(columns).astype(np.int32)

    def scale(self, code: Assembly, vectors: Sequence[str], parameter: Callable[[], str], spare: str, *,
              are_vectors: bool) -> None:  # fmt: skip
        """Scale vectors of sums. `parameter` brings the next parameter, in a vector or a register, and names it."""

        def each(text: str, operand: str = "") -> None:
            code.ops([text.format(v=f"{{{vector}}}", p=f"{{{operand}}}") for vector in vectors])

        form = self.form
        if self.has_bias:
            each("vadd.i32 {v}, {v}, {p}", parameter())
        if isinstance(form, Staircase):
            if form.fraction_bits > 1:
                each(f"vshl.i32 {{v}}, {{v}}, #{form.fraction_bits - 1}")
            each("vqdmulh.s32 {v}, {v}, {p}", parameter())
            each("vadd.i32 {v}, {v}, {p}", parameter())
            if form.shift < NARROWED_BITS:
                each(f"vqshl.s32 {{v}}, {{v}}, #{NARROWED_BITS - form.shift}")
            return
        each("vqrdmulh.s32 {v}, {v}, {p}", parameter())
        for vector in vectors:
            code.ops([f"vshr.s32 {{{spare}}}, {{{vector}}}, #31",
                      f"vadd.i32 {{{vector}}}, {{{vector}}}, {{{spare}}}"])  # fmt: skip
        each("vadd.i32 {v}, {v}, {p}", parameter())
        each("vqshl.s32 {v}, {v}, {p}" if are_vectors else "vqshl.s32 {v}, {p}", parameter())

    def narrow(self, code: Assembly, vectors: Sequence[str], result: str, spare: str, register: str) -> None:
        """One or two scaled vectors into the even and odd 16-bit lanes of `result`: values as they are stored."""
        self.saturate(code, vectors, result)
        code.op(f"vshr.s16 {{{result}}}, {{{result}}}, #{NARROWED_BITS}")
        self.clamp(code, result, spare, register, 16)

    def saturate(self, code: Assembly, vectors: Sequence[str], result: str) -> None:
        """One or two scaled vectors into the even and odd 16-bit lanes of `result`, with bits below the point."""
        form = self.form
        for half, vector in zip("bt", vectors, strict=False):
            if isinstance(form, Staircase) and form.shift > NARROWED_BITS:
                shift = form.shift - NARROWED_BITS
                code.op(f"vqrshrn{half}.s32 {{{result}}}, {{{vector}}}, #{shift}")
            else:
                code.op(f"vqmovn{half}.s32 {{{result}}}, {{{vector}}}")

    def clamp(self, code: Assembly, result: str, spare: str, register: str, bits: int) -> None:
        """Lanes of 8 or 16 bits, which hold int8 values, to less than these where the layer's clamp is tighter."""
        for bound, limit, operation in ((self.low, -128, "vmax"), (self.high, 127, "vmin")):
            if bound != limit:
                move = f"mov {{{register}}}, #{bound}" if bound >= 0 else f"mvn {{{register}}}, #{-bound - 1}"
                code.ops([move, f"vdup.{bits} {{{spare}}}, {{{register}}}",
                          f"{operation}.s{bits} {{{result}}}, {{{result}}}, {{{spare}}}"])  # fmt: skip


def form_for(scaling: ChannelScaling, lows: np.ndarray, highs: np.ndarray) -> Staircase | Literal | None:
    """The cheapest form for accumulators in [lows, highs]; None where there is none."""
    reference = Scaling(
        scaling.multipliers.astype(np.int64), scaling.shifts.astype(np.int64), scaling.rounding,
        scaling.zero_point, scaling.low, scaling.high,
    )  # fmt: skip
    reach = int(max(np.abs(lows).max(), np.abs(highs).max(), np.abs(scaling.bias).max(), 1))
    lift = min(_MOST_LIFT, 29 - reach.bit_length())
    proven = prove(reference, scaling.bias, lows, highs, fraction_bits=lift) if lift >= 1 else None
    if proven is not None and proven.lowerings is None:
        return proven
    return literal(reference, scaling.bias, lows, highs, fraction_bits=0)


_FORMS: OrderedDict[tuple[Hashable, ...], Requantization | None] = OrderedDict()
_MOST_FORMS = 512


def requantized(node: Node, graph: Graph, channel_axis: int) -> Requantization | None:
    """The requantisation of a node with operands (x, weights, bias), x read with its zero point; None if there is none.

    `channel_axis` is the weights' axis of output channels. Forms are kept: kernels are asked for theirs several times.
    """
    operands = [graph.values[name] for name in node.inputs[1:] if name is not None]
    key = (node, *operands, graph.type(node.inputs[0] or ""), graph.type(node.outputs[0]))
    if key not in _FORMS:
        _FORMS[key] = _found(node, graph, channel_axis)
        if len(_FORMS) > _MOST_FORMS:
            _FORMS.popitem(last=False)
    return _FORMS[key]


def _found(node: Node, graph: Graph, channel_axis: int) -> Requantization | None:
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    flat = np.moveaxis(weights, channel_axis, 0).reshape(weights.shape[channel_axis], -1)
    scaling = channel_scaling(node, graph, flat.sum(1, dtype=np.int64))
    lows, highs = accumulator_range(flat, scaling.bias, -128, 127)
    form = form_for(scaling, lows, highs)
    return None if form is None else Requantization(form, scaling.low, scaling.high)
