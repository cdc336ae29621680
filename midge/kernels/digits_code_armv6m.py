"""Assembly of requantisation by shifts and additions (`digits_armv6m`), with the numbers of a channel from a stream.

Sums are in the registers acc0 and acc1 (of a second pixel), results come in t6 and t7; t1, t2 and t5 are spare, and
`kept` is a high one. The stream has a channel's words, then its shifts as bytes, up to a word's end
(`DigitScaling.parameters`).
"""

from __future__ import annotations

from dataclasses import dataclass

from midge.kernels.assembly_armv6m import ThumbAssembly
from midge.kernels.digits_armv6m import SHIFT, DigitScaling


@dataclass(frozen=True, slots=True)
class DigitCode:
    """Writes it, for so many pixels; results are q + excess."""

    code: ThumbAssembly
    scaling: DigitScaling
    lanes: int
    excess: int

    def write(self) -> None:
        """The sums to results."""
        code, scaling, lanes = self.code, self.scaling, self.lanes
        if scaling.is_uniform:
            self.requantize_alike()
            return
        if scaling.is_lowered:
            self.lowered_offsets()
        else:
            code.op("ldmia {wp}!, {{{t1}, {t2}, {t5}}}", "start less origin, end, offset")
            for lane in range(lanes):
                code.op(f"adds {{acc{lane}}}, {{acc{lane}}}, {{t1}}")
                self.clamp(lane, "t2")
                code.op(f"movs {{t{6 + lane}}}, {{t5}}")
        code.op("ldrb {t1}, [{wp}, #0]", "fraction")
        code.ops([f"lsls {{acc{lane}}}, {{t1}}" for lane in range(lanes)])
        plus, minus = self.scaling.counts
        for digit in range(plus + minus):
            code.op(f"ldrb {{t1}}, [{{wp}}, #{1 + digit}]")
            for lane in range(lanes):
                operation = "adds" if digit < plus else "subs"
                code.ops([f"movs {{t2}}, {{acc{lane}}}", "lsrs {t2}, {t1}",
                          f"{operation} {{t{6 + lane}}}, {{t{6 + lane}}}, {{t2}}"])  # fmt: skip
        code.op(f"adds {{wp}}, #{self.scaling.digit_bytes}")
        for lane in range(lanes):
            self.result(f"t{6 + lane}")

    def result(self, register: str) -> None:
        """The scaled sum to the byte to store."""
        base = (self.scaling.low + self.excess) & 0xFF
        self.code.op(f"lsrs {{{register}}}, {{{register}}}, #{SHIFT}")
        if base:
            self.code.op(f"adds {{{register}}}, #{base}")

    def requantize_alike(self) -> None:
        """The same with numbers that all channels share."""
        code, scaling = self.code, self.scaling
        code.op("ldmia {wp}!, {{{t1}}}", "start less origin")
        code.constant("t2", int(scaling.ends[0]))
        for lane in range(self.lanes):
            code.op(f"adds {{acc{lane}}}, {{acc{lane}}}, {{t1}}")
            self.clamp(lane, "t2")
            code.op(f"lsls {{acc{lane}}}, {{acc{lane}}}, #{scaling.fractions[0]}")
        code.constant("t2", int(scaling.offsets[0]) & 0xFFFF_FFFF)
        for lane in range(self.lanes):
            total = f"{{t{6 + lane}}}"
            code.op(f"movs {total}, {{t2}}")
            for shift, operation in scaling.digits(0):
                code.op(f"lsrs {{t1}}, {{acc{lane}}}, #{shift}" if shift else f"movs {{t1}}, {{acc{lane}}}")
                code.op(f"{operation} {total}, {total}, {{t1}}")
            self.result(f"t{6 + lane}")

    def lowered_offsets(self) -> None:
        """Offsets, in t6 and t7, less where sums are negative; then sums, clamped."""
        code, lanes = self.code, self.lanes
        code.op("ldmia {wp}!, {{{t1}, {t2}, {t5}, {t6}, {t7}}}", "start, origin, end, offset, lowering")
        for lane in range(lanes):
            code.op(f"adds {{acc{lane}}}, {{acc{lane}}}, {{t1}}")
        for lane in range(lanes):
            code.ops([f"asrs {{t1}}, {{acc{lane}}}, #31", "ands {t1}, {t7}", "subs {t1}, {t6}, {t1}"])
            if lane < lanes - 1:
                code.op("mov {kept}, {t1}")
            else:
                code.op("movs {t7}, {t1}" if lanes > 1 else "movs {t6}, {t1}")
        if lanes > 1:
            code.op("mov {t6}, {kept}")
        for lane in range(lanes):
            code.op(f"subs {{acc{lane}}}, {{acc{lane}}}, {{t2}}")
            self.clamp(lane, "t5")

    def clamp(self, lane: int, end: str) -> None:
        """Between 0 and the end."""
        code, acc = self.code, f"{{acc{lane}}}"
        code.op(f"cmp {acc}, {{{end}}}")
        with code.skip("bls"):
            code.ops([f"asrs {acc}, {acc}, #31", f"mvns {acc}, {acc}", f"ands {acc}, {{{end}}}"])
