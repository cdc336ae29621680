"""From accumulators to bytes on RV32M, in the form that `staircase` proved: one `MULH`, an addition, a shift.

Results are moved so that the lowest is 0. Then `SLT` and `MUL` cut off what is below it, where a rectifier makes that
common; what is above the highest is rare and found by one branch, which without a rectifier finds the rest too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels.assembly_rv32 import RiscvAssembly
from midge.kernels.base import Layout
from midge.kernels.quantized import ChannelScaling, channel_scaling
from midge.kernels.requantize_armv7em import form_for
from midge.kernels.staircase import Literal, Staircase, accumulator_range
from midge.ops.base import Rounding

_FRACTION_BITS = 6
_ROOM_BITS = 29
"""Of an accumulator with its fraction."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """Names of registers: multiplier, offset, third parameter, a spare one, and one more than the highest result."""

    multiplier: str
    offset: str
    third: str
    spare: str
    limit: str


@dataclass(frozen=True, slots=True, eq=False)
class Requantization:
    """A proven form, whose results are q - low."""

    form: Staircase | Literal
    layout: Layout
    low: int
    high: int
    is_rectified: bool

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        kind = f"r{self.form.shift}" if isinstance(self.form, Staircase) else "literal"
        lowered = "n" if isinstance(self.form, Staircase) and self.form.lowerings is not None else ""
        bounds = f"l{self.low}u{self.high}".replace("-", "n")
        return f"{kind}x{self.form.fraction_bits}{lowered}{bounds}{'c' if self.is_rectified else ''}"

    @property
    def starts(self) -> np.ndarray:
        """int64 [channels]: what accumulators start at."""
        return self.form.starts.astype(np.int64) >> self.form.fraction_bits

    @property
    def parameters(self) -> np.ndarray:
        """int32 [channels, 2 or 3]: multiplier, offset, and the lowering or shift where there is one."""
        columns = [self.form.multipliers, self.form.offsets]
        third = self.form.shifts if isinstance(self.form, Literal) else self.form.lowerings
        if third is not None:
            columns.append(third)
        return np.stack(columns, axis=1).astype(np.int32)

    @property
    def has_spare_third(self) -> bool:
        """True where the third register is not needed."""
        return self.parameters.shape[1] < 3

    def load(self, code: RiscvAssembly, stream: str, at: int, scratch: Scratch) -> None:
        """Instructions that load a channel's parameters."""
        for index, name in enumerate((scratch.multiplier, scratch.offset, scratch.third)[: self.parameters.shape[1]]):
            code.op(f"lw {{{name}}}, {at + 4 * index}({{{stream}}})")

    def set_limit(self, code: RiscvAssembly, scratch: Scratch) -> None:
        """Instruction that makes what `scale` finds in `limit`."""
        code.constant(scratch.limit, self.high - self.low + 1)

    def scale(self, code: RiscvAssembly, acc: str, scratch: Scratch) -> None:
        """Instructions that turn an accumulator into the byte to store."""
        self._multiply(code, acc, scratch)
        spare = scratch.spare
        if self.is_rectified:
            code.ops([f"slt {{{spare}}}, zero, {{{acc}}}", f"mul {{{acc}}}, {{{acc}}}, {{{spare}}}"])
        saturate = [f"srai {{{acc}}}, {{{acc}}}, 31", f"not {{{acc}}}, {{{acc}}}",
                    f"andi {{{acc}}}, {{{acc}}}, {self.high - self.low}"]  # fmt: skip
        code.rarely(f"bgeu {{{acc}}}, {{{scratch.limit}}}", saturate)
        if self.low:
            code.op(f"addi {{{acc}}}, {{{acc}}}, {self.low}")

    def _multiply(self, code: RiscvAssembly, acc: str, scratch: Scratch) -> None:
        multiplier, offset, third, spare = scratch.multiplier, scratch.offset, scratch.third, scratch.spare
        if isinstance(self.form, Literal):
            code.ops([
                f"slli {{{acc}}}, {{{acc}}}, 1",
                f"mul {{{spare}}}, {{{acc}}}, {{{multiplier}}}",
                f"mulh {{{acc}}}, {{{acc}}}, {{{multiplier}}}",
                f"srli {{{spare}}}, {{{spare}}}, 31",
                f"add {{{acc}}}, {{{acc}}}, {{{spare}}}",
                f"srai {{{spare}}}, {{{acc}}}, 31",
                f"add {{{acc}}}, {{{acc}}}, {{{spare}}}",
                f"add {{{acc}}}, {{{acc}}}, {{{offset}}}",
                f"sra {{{acc}}}, {{{acc}}}, {{{third}}}",
            ])  # fmt: skip
            return
        if self.form.fraction_bits:
            code.op(f"slli {{{acc}}}, {{{acc}}}, {self.form.fraction_bits}")
        if self.form.lowerings is not None:
            code.ops([f"srai {{{spare}}}, {{{acc}}}, 31", f"and {{{spare}}}, {{{spare}}}, {{{third}}}",
                      f"sub {{{acc}}}, {{{acc}}}, {{{spare}}}"])  # fmt: skip
        code.ops([f"mulh {{{acc}}}, {{{acc}}}, {{{multiplier}}}", f"add {{{acc}}}, {{{acc}}}, {{{offset}}}",
                  f"srai {{{acc}}}, {{{acc}}}, {self.form.shift}"])  # fmt: skip


def requantized(node: Node, graph: Graph, layout: Layout, channel_axis: int) -> Requantization | None:
    """The requantisation of a node with operands (x, weights, bias), for sums of products with x as it is stored."""
    weights = graph.constant(node.inputs[1])
    assert weights is not None
    flat = np.moveaxis(weights, channel_axis, 0).reshape(weights.shape[channel_axis], -1)
    scaling = channel_scaling(node, graph, flat.sum(1, dtype=np.int64))
    lows, highs = accumulator_range(flat, scaling.bias, -128, 127)
    arrays = (scaling.multipliers, scaling.shifts, scaling.bias, lows, highs)
    form = _form(tuple(array.astype(np.int64).tobytes() for array in arrays), scaling.rounding, scaling.zero_point,
                 scaling.low, scaling.high)  # fmt: skip
    if form is None:
        return None
    is_rectified = scaling.low > -128 or scaling.low == scaling.zero_point
    return Requantization(form.moved(-scaling.low), layout, scaling.low, scaling.high, is_rectified)


@lru_cache(maxsize=512)
def _form(arrays: tuple[bytes, ...], rounding: Rounding, zero_point: int, low: int, high: int
          ) -> Staircase | Literal | None:  # fmt: skip
    """Searched for once, however often the planner asks."""
    multipliers, shifts, biases, lows, highs = (np.frombuffer(array, np.int64) for array in arrays)
    scaling = ChannelScaling(biases, multipliers, shifts, rounding, zero_point, low, high)
    reach = int(max(np.abs(lows).max(), np.abs(highs).max(), np.abs(biases).max(), 1))
    fraction_bits = min(_FRACTION_BITS, _ROOM_BITS - reach.bit_length())
    return form_for(scaling, biases, lows, highs, fraction_bits) if fraction_bits >= 0 else None
