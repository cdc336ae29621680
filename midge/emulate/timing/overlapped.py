"""An in-order pipeline that issues one instruction a cycle, whose results have latencies (docs/timing.md).

A vector instruction keeps its unit for two beats, while the next instruction already issues to another one. Beside a
16-bit instruction a light one, 16 bits wide too, issues in the same cycle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.kinds import Kind, kind_name
from midge.emulate.timing.operands import FLAGS, operands, plain_name
from midge.errors import InternalError

MODEL = "overlapped"
LOOP_END = "loop_end"
_IMMEDIATE = re.compile(r"#")
_LIGHT = {
    "branch": re.compile(r"b(x|lx)?$|cbn?z$|it[te]{0,3}$"),
    "nop": re.compile(r"nop$"),
    "move": re.compile(r"movs?$"),
    "extend": re.compile(r"[su]xt[bh]$"),
    "add": re.compile(r"(add|sub)s?$"),
}


def parse_light(where: str, text: str) -> tuple[str, ...]:
    """The names of light instructions in a table's entry. InternalError for one that is not known."""
    names = tuple(text.split())
    unknown = sorted(set(names) - set(_LIGHT))
    if unknown:
        raise InternalError(where, f"unknown {', '.join(unknown)}", f"names of {', '.join(_LIGHT)}")
    return names


class Overlapped:
    """Issues instructions one after the other; `cycle` is the one in which the last was issued."""

    def __init__(self, kinds: Mapping[str, Kind], light: Sequence[str]) -> None:
        self._kinds, self._light = kinds, light
        self._ready: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        self._free: dict[str, int] = {}
        self._partner: Instruction | None = None
        """The last instruction, where another may still issue beside it."""
        self._next = 0
        """The first cycle in which the next instruction can issue by itself."""
        self.cycle = -1

    def issue(self, instruction: Instruction) -> None:
        """Issue the next instruction."""
        kind, found = self._kinds[kind_name(instruction)], operands(instruction)
        beside = self._partner is not None and self._pairs(self._partner, instruction)
        earliest = self.cycle if beside else self._next
        for register, role in found.sources:
            if register == FLAGS and instruction.class_ == "branch":
                continue  # `branch` knows what it waits for
            ready = self._stored if role == "data" else self._ready
            earliest = max(earliest, ready.get(_vector(register), 0) + kind.early.get(role, 0))
        units = self._units(kind)
        earliest = max([earliest, *(self._free.get(unit, 0) for unit in units)])
        beside = beside and earliest == self.cycle
        if not beside:
            earliest = max(earliest, self._next)
        words = -(-instruction.words // kind.words_per_cycle) if kind.words_per_cycle else 1
        self.cycle = earliest
        self._partner = None if beside or instruction.bytes == 4 else instruction
        alone = earliest + (max(kind.busy, words) if kind.beats == 1 else 1)
        self._next = max(alone, self._next) if beside else alone
        for unit in units:
            self._free[unit] = earliest + max(kind.beats, kind.busy, words)
        for register in found.results:
            latency, stored = (1, 1) if register == found.base else (kind.latency, kind.stored)
            self._ready[_vector(register)] = earliest + latency + words - 1
            self._stored[_vector(register)] = earliest + stored + words - 1
        if found.base:
            self._ready[found.base] = self._stored[found.base] = earliest + 1

    def branch(self, last: Instruction, refill: int) -> None:
        """The last instruction was a branch that was taken: nothing issues beside it, and `refill` cycles are lost.

        A condition is known a cycle after its flags.
        """
        known = self._ready.get(FLAGS, 0) + 1 if any(register == FLAGS for register, _ in operands(last).sources) else 0
        self._partner = None
        self._next = max(self._next, known) + refill

    @property
    def end(self) -> int:
        """The first cycle in which an instruction after these can issue by itself."""
        return self._next

    def _units(self, kind: Kind) -> Sequence[str]:
        if not kind.either:
            return kind.units
        return [min(kind.units, key=lambda unit: self._free.get(unit, 0))]

    def _pairs(self, first: Instruction, second: Instruction) -> bool:
        return second.bytes == 2 and (self._is_light(first) or self._is_light(second))

    def _is_light(self, instruction: Instruction) -> bool:
        name = plain_name(instruction)
        found = next((light for light in self._light if _LIGHT[light].match(name)), None)
        # Only sums with a constant are light, and not those of the stack pointer.
        return found is not None and (found != "add" or (_IMMEDIATE.search(instruction.text) is not None
                                                        and "sp" not in instruction.text))  # fmt: skip


def _vector(register: str) -> str:
    """The vector that a register of floating point is a part of; others as they are."""
    return f"q{int(register[1:]) // 4}" if re.fullmatch(r"s\d+", register) else register


def issue_cycles(kinds: Mapping[str, Kind], light: Sequence[str], context: Sequence[Instruction],
                 block: Sequence[Instruction], refill: int | None) -> int:  # fmt: skip
    """Cycles by which a block is later at its end than the code that ran before it.

    `refill` is what the branch to the block lost (that is not the block's), None where there was none. The end of a
    low-overhead loop takes no time here.
    """
    pipeline = _run(kinds, light, context)
    if refill is not None and context:
        pipeline.branch(context[-1], refill)
    start = pipeline.end
    for instruction in _without_loop_end(block):
        pipeline.issue(instruction)
    return pipeline.end - start


def branch_cycles(kinds: Mapping[str, Kind], light: Sequence[str], block: Sequence[Instruction], refill: int) -> int:
    """What a taken branch at the end of a block loses."""
    pipeline = _run(kinds, light, block)
    start = pipeline.end
    pipeline.branch(block[-1], refill)
    return pipeline.end - start


def _run(kinds: Mapping[str, Kind], light: Sequence[str], code: Sequence[Instruction]) -> Overlapped:
    pipeline = Overlapped(kinds, light)
    for instruction in _without_loop_end(code):
        pipeline.issue(instruction)
    return pipeline


def _without_loop_end(code: Sequence[Instruction]) -> Sequence[Instruction]:
    return code[:-1] if code and code[-1].class_ == LOOP_END else code
