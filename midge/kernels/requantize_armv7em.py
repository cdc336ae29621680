"""From accumulators to stored values on Armv7E-M, in the form that `staircase` proved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Layout
from midge.kernels.quantized import ChannelScaling
from midge.kernels.staircase import Literal, Scaling, Staircase, literal, prove


@dataclass(frozen=True, slots=True, eq=False)
class Requantization:
    """A proven form and the layout that its results are stored in."""

    form: Staircase | Literal
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
        return f"{kind}{lowered}{bounds}{'c' if self.is_centred else ''}"

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


def requantization(scaling: ChannelScaling, biases: np.ndarray, lows: np.ndarray, highs: np.ndarray, layout: Layout,
                   fraction_bits: int) -> Requantization | None:  # fmt: skip
    """A form for accumulators with these biases and bounds, for results in `layout`: the proven one, or the literal one."""
    reference = Scaling(
        scaling.multipliers.astype(np.int64), scaling.shifts.astype(np.int64), scaling.rounding,
        scaling.zero_point, scaling.low, scaling.high,
    )  # fmt: skip
    is_centred = layout.fraction_bits is not None and scaling.low == scaling.zero_point
    shown = 0 if is_centred else scaling.zero_point
    form = prove(reference, biases, lows, highs, zero_point=shown, fraction_bits=fraction_bits)
    form = form or literal(reference, biases, lows, highs, zero_point=shown, fraction_bits=fraction_bits)
    if form is None:
        return None
    moved = shown - scaling.zero_point
    return Requantization(form, layout, scaling.low + moved, scaling.high + moved, is_centred, scaling.zero_point)
