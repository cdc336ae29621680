"""An in-order pipeline that issues two instructions a cycle, from a core's `[timing]` table (docs/timing.md).

An instruction issues no earlier than the one before it, when its operands are ready, an issue slot and its units are
free. The table says for each kind of instruction which units it takes and when it reads and writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.kinds import UNITS, Kind, kind_name
from midge.emulate.timing.operands import FLAGS, operands

MODEL = "dual-issue"
_WORD = re.compile(r"v?ldr(?:\.w)? \w+, \[(\w+)(?:, #(-?\w+))?\]")
ISSUE_WIDTH = 2


class DualIssue:
    """Issues instructions one after the other; `cycle` is the one in which the last was issued.

    `as_llvm_mca` reads a table as llvm-mca reads LLVM's, for comparisons (docs/timing.md, "Against LLVM"): no result
    before that of the instruction ahead, an advanced base as late as loaded data, multiple transfers in one cycle.
    """

    def __init__(self, kind_of: Callable[[Instruction], Kind], as_llvm_mca: bool = False) -> None:
        self._kind_of, self._as_llvm_mca = kind_of, as_llvm_mca
        self._last_result = 0
        self._ready: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._loaded: set[str] = set()
        """Registers whose last value a load has brought."""
        self._bank: tuple[str, int] | None = None
        """Of the load that issued in this cycle."""
        self._slots = ISSUE_WIDTH
        self.cycle = -1

    def issue(self, instruction: Instruction) -> None:
        """Issue the next instruction."""
        kind, found = self._kind_of(instruction), operands(instruction)
        earliest = self.cycle
        for register, role in found.sources:
            earliest = max(earliest, self._ready.get(register, 0) + kind.early.get(role, 0))
            if role == "plain" and register in self._loaded:
                earliest = max(earliest, self._ready[register] + kind.early.get("loaded", 0))
        if self._as_llvm_mca:
            earliest = max(earliest, self._last_result - (0 if found.base else kind.latency))
        bank = None if self._as_llvm_mca else _bank(instruction)
        if earliest == self.cycle and not (self._fits(kind) and (bank is None or bank != self._bank)):
            earliest += 1
        if earliest > self.cycle:
            self.cycle, self._slots, self._used, self._bank = earliest, 0, {}, None
        self._bank = bank or self._bank
        self._slots += 1
        self._last_result = self.cycle + kind.latency
        for unit in kind.units:
            self._used[unit] = self._used.get(unit, 0) + 1
        self._loaded -= set(found.results)
        self._loaded |= instruction.loads
        for register in found.results:
            self._ready[register] = self.cycle + (1 if register == FLAGS else kind.latency)
        if found.base:
            self._ready[found.base] = self.cycle + (kind.latency if self._as_llvm_mca else 0)
        if kind.alone:
            words = kind.words_per_cycle and not self._as_llvm_mca
            busy = max(kind.busy, -(-instruction.words // kind.words_per_cycle) if words else 1)
            self.cycle, self._slots = self.cycle + busy - 1, ISSUE_WIDTH

    def end_group(self) -> None:
        """Nothing more issues in this cycle: a branch was taken."""
        self._slots = ISSUE_WIDTH

    @property
    def end(self) -> int:
        return self.cycle + 1

    def _fits(self, kind: Kind) -> bool:
        if self._slots >= ISSUE_WIDTH or (self._slots and (kind.first or kind.alone)):
            return False
        return all(self._used.get(unit, 0) < UNITS[unit] for unit in kind.units)


def _bank(instruction: Instruction) -> tuple[str, int] | None:
    """Of a load of a word at a constant distance from a register: that register, and an even or an odd word."""
    match = _WORD.match(instruction.text) if instruction.class_ in ("load", "float_load") else None
    return (match[1], int(match[2] or "0", 0) // 4 % 2) if match else None


def issue_cycles(kinds: Mapping[str, Kind], context: Sequence[Instruction], block: Sequence[Instruction],
                 after_branch: bool) -> int:  # fmt: skip
    """Cycles by which a block is later at its end than the code that ran before it."""
    pipeline = DualIssue(lambda instruction: kinds[kind_name(instruction)])
    for instruction in context:
        pipeline.issue(instruction)
    if after_branch:
        pipeline.end_group()
    start = pipeline.end
    for instruction in block:
        pipeline.issue(instruction)
    return pipeline.end - start
