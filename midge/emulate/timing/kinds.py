"""How kinds of instructions go through a pipeline in which results have latencies, from a core's `[timing]` table."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.operands import operands, plain_name
from midge.errors import InternalError

UNITS = {
    "load": 2, "store": 1, "alu": 2, "shift": 1, "mac": 1, "simd": 1, "branch": 1, "vfp": 1, "port": 2,
    "memory": 1, "integer": 1, "product": 1, "control": 1,
}  # fmt: skip
"""How many there are of each: the Cortex-M7's, then those of cores with overlapped vectors."""
ROLES = ("plain", "address", "data", "accumulator", "shifted", "index", "loaded")
"""Of operands; `loaded` is a plain one that a load has brought."""
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
    ("bit_extract", re.compile(r"[su]bfx$")),
    ("simd_shifted", re.compile(r"pkh|[su]xta")),
    ("simd_slow", re.compile(r"u?q(add|sub|asx|sax)|usada?8")),
    ("extend", re.compile(r"[su]xt[bh]$")),
    ("simd", re.compile(r"[su]xtb16|(s|u|sh|uh)((add|sub)(8|16)|asx|sax)$|sel$")),
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
    """Where not zero, its registers (of a gather or scatter: elements) make it busy longer."""
    beats: int = 1
    """Cycles for which it takes its units."""
    stored: int = 0
    """Its latency where the result is stored."""
    either: bool = False
    """It takes one of its units."""


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
    unknown = [u for u in head if u not in (*UNITS, "none")] + sorted(flags - {"first", "alone", "either"})
    unknown += sorted(set(numbers) - {"latency", "busy", "words", "beats", "stored", *ROLES})
    if unknown:
        raise InternalError(where, f"unknown {', '.join(unknown)}", f"units {', '.join(UNITS)}, or a known property")
    early = {role: numbers[role] for role in ROLES if role in numbers}
    return Kind(
        tuple(unit for unit in head if unit != "none"), numbers.get("latency", 1), early, "first" in flags,
        "alone" in flags, numbers.get("busy", 1), numbers.get("words", 0), numbers.get("beats", 1),
        numbers.get("stored", numbers.get("latency", 1)), "either" in flags,
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


@functools.lru_cache(maxsize=8)
def kinds_of(core: str, entries: tuple[tuple[str, str], ...]) -> Mapping[str, Kind]:
    """The kinds of a core's table."""
    return {name: parse_kind(f"core {core}, timing, `{name}`", text) for name, text in entries}
