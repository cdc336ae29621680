"""An in-order pipeline that issues two instructions a cycle, from a core's `[timing]` table (docs/timing.md).

An instruction issues no earlier than the one before it, when its operands are ready, an issue slot and its units are
free. The table says for each kind of instruction which units it takes and when it reads and writes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from midge.emulate.timing.classify import Instruction
from midge.emulate.timing.operands import FLAGS, operands, plain_name
from midge.errors import InternalError

MODEL = "dual-issue"
ISSUE_WIDTH = 2
UNITS = {"load": 2, "store": 1, "alu": 2, "shift": 1, "mac": 1, "simd": 1, "branch": 1, "vfp": 1, "port": 2}
ROLES = ("plain", "address", "data", "accumulator", "shifted")
CONTEXT_INSTRUCTIONS = 24
"""Of the code before a block, as much as can still delay it."""
_NARROW = re.compile(r"ldr(ex)?s?[bh]")
# The first that matches the name names the kind of an `alu` instruction.
_ALU_KINDS = (
    ("nop", re.compile(r"(nop|hint|yield|wfe|wfi|sev|svc|bkpt|udf|clrex)$")),
    ("shift", re.compile(r"(lsl|lsr|asr|ror|rrx)s?$")),
    ("bit_insert", re.compile(r"bf[ic]$")),
    ("count_zeros", re.compile(r"clz$")),
    ("reverse", re.compile(r"(rev|rbit)")),
    ("saturate", re.compile(r"[su]sat|qd(add|sub)$")),
    ("simd_shifted", re.compile(r"[su]bfx$|pkh|[su]xta")),
    ("simd_slow", re.compile(r"u?q(add|sub|asx|sax)|usada?8")),
    ("simd", re.compile(r"[su]xt|(s|u|sh|uh)((add|sub)(8|16)|asx|sax)$|sel$")),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of instruction goes through the pipeline."""

    units: tuple[str, ...]
    latency: int = 1
    """Cycles from its issue until an ordinary operation can use its result."""
    early: Mapping[str, int] = field(default_factory=dict)
    """By role: by how many cycles an operand must be ready before that (negative: after it)."""
    first: bool = False
    """It cannot be the second of a pair."""
    alone: bool = False
    """It is not paired at all."""
    busy: int = 1
    """Cycles until the next instruction can issue, where it is alone."""
    words_per_cycle: int = 0
    """Where not zero, its registers make it busy longer."""


def parse_kind(where: str, text: str) -> Kind:
    """`alu simd, latency 2, shifted 1, first`: units, then what differs from the defaults. InternalError if wrong."""
    head, *rest = [part.split() for part in text.split(",")]
    numbers: dict[str, int] = {}
    flags: set[str] = set()
    for part in rest:
        if len(part) == 2 and re.fullmatch(r"-?\d+", part[1]):
            numbers[part[0]] = int(part[1])
        elif len(part) == 1:
            flags.add(part[0])
        else:
            raise InternalError(where, f"`{' '.join(part)}`", "a name, or a name and a number")
    unknown = [u for u in head if u not in (*UNITS, "none")] + sorted(flags - {"first", "alone"})
    unknown += sorted(set(numbers) - {"latency", "busy", "words", *ROLES})
    if unknown:
        raise InternalError(where, f"unknown {', '.join(unknown)}", f"units {', '.join(UNITS)}, or a known property")
    early = {role: numbers[role] for role in ROLES if role in numbers}
    return Kind(
        tuple(unit for unit in head if unit != "none"), numbers.get("latency", 1), early, "first" in flags,
        "alone" in flags, numbers.get("busy", 1), numbers.get("words", 0),
    )  # fmt: skip


def kind_name(instruction: Instruction) -> str:
    """The entry of the table for an instruction."""
    class_, name = instruction.class_, plain_name(instruction)
    if class_ == "load" and _NARROW.match(name):
        return "load_narrow"
    if class_.startswith("float_") and instruction.double and not class_.endswith("_multiple"):
        return f"{class_}_double"
    if class_ != "alu":
        return class_
    for kind, pattern in _ALU_KINDS:
        if pattern.match(name):
            return kind
    if any(role == "shifted" for _, role in operands(instruction).sources):
        return "alu_shifted"
    return class_


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
        self._slots = ISSUE_WIDTH
        self.cycle = -1

    def issue(self, instruction: Instruction) -> None:
        """Issue the next instruction."""
        kind, found = self._kind_of(instruction), operands(instruction)
        earliest = self.cycle
        for register, role in found.sources:
            earliest = max(earliest, self._ready.get(register, 0) + kind.early.get(role, 0))
        if self._as_llvm_mca:
            earliest = max(earliest, self._last_result - (0 if found.base else kind.latency))
        if earliest == self.cycle and not self._fits(kind):
            earliest += 1
        if earliest > self.cycle:
            self.cycle, self._slots, self._used = earliest, 0, {}
        self._slots += 1
        self._last_result = self.cycle + kind.latency
        for unit in kind.units:
            self._used[unit] = self._used.get(unit, 0) + 1
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


@functools.lru_cache(maxsize=8)
def kinds_of(core: str, entries: tuple[tuple[str, str], ...]) -> Mapping[str, Kind]:
    """The kinds of a core's table."""
    return {name: parse_kind(f"core {core}, timing, `{name}`", text) for name, text in entries}
