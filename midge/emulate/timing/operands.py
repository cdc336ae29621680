"""Registers that an instruction reads and writes, for pipelines in which results have latencies."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from midge.emulate.timing.classify import CONDITIONS, canonical
from midge.emulate.timing.instruction import Instruction

FLAGS, GREATER_EQUAL, FLOAT_FLAGS = "flags", "ge", "fpscr"
_REGISTER = re.compile(r"\b(r\d+|sp|lr|pc|sb|sl|fp|ip|[sd]\d+)\b")
_SHIFTED = re.compile(r"(\w+), (?:lsl|lsr|asr|ror|rrx)\b[^\]]*$")
_WRITEBACK = re.compile(r"\]!|\], |^\w+!")
_SETS_FLAGS = frozenset((
    "adds", "subs", "rsbs", "adcs", "sbcs", "ands", "orrs", "eors", "bics", "orns", "lsls", "lsrs", "asrs", "rors",
    "rrxs", "movs", "mvns", "muls", "negs", "cmp", "cmn", "tst", "teq",
))  # fmt: skip
_COMPARES = ("cmp", "cmn", "tst", "teq", "vcmp", "vcmpe")
_WITH_CARRY = ("adc", "adcs", "sbc", "sbcs", "rrx", "rrxs")
# With two operands these do not read the first; all others do (`adds r0, #1`, `lsls r0, r1`).
_UNARY = re.compile(
    r"(mov[sw]?|mvns?|[su]xt\w+|rev\w*|rbit|clz|adr|negs?|ssat|usat|vmov|vcvt\w*|vabs|vneg|vsqrt|vrint\w)$"
)
_KEEPS_BITS = ("movt", "bfi", "bfc")
_END_LIKE_CONDITIONS = frozenset((
    "adcs", "bics", "lsls", "movs", "muls", "sbcs", "teq", "mls", "smmls", "smlal", "umlal", "umaal", "vmls", "vnmls",
    "svc", "vseleq", "vselge", "vselgt", "vselvs",
))  # fmt: skip
_SETS_GREATER_EQUAL = re.compile(r"[su](add|sub)(8|16)$|[su](asx|sax)$")
_SHIFTS = re.compile(r"(lsl|lsr|asr|ror|rrx)s?$")


@dataclass(frozen=True, slots=True)
class Operands:
    """`sources` are pairs of register and role: address, data (of a store), accumulator, shifted, or plain."""

    sources: tuple[tuple[str, str], ...]
    results: tuple[str, ...]
    base: str
    """A register that a load or store advances, or nothing."""


@functools.lru_cache(maxsize=1 << 16)
def operands(instruction: Instruction) -> Operands:
    """What the instruction reads and writes; flags are registers too."""
    if instruction.reads or instruction.results:
        return _added(instruction)
    text = instruction.text.partition(" ")[2]
    name = plain_name(instruction)
    if instruction.class_.removeprefix("float_").startswith(("load", "store")):
        found = _transfer(instruction, text, name)
    else:
        found = _compute(instruction, text, name)
    sources, results = list(found.sources), list(found.results)
    if instruction.mnemonic != name or name in _WITH_CARRY:
        sources.append((FLAGS, "plain"))
    if name in _SETS_FLAGS:
        results.append(FLAGS)
    return Operands(tuple(sources), tuple(results), found.base)


def _added(instruction: Instruction) -> Operands:
    """Of what Armv8.1-M added, whose registers are known from its encoding."""
    is_store = instruction.class_.startswith(("vector_store", "vector_scatter"))

    def role(register: str) -> str:
        if register in instruction.address:
            return "index" if register.startswith("q") else "address"
        return "data" if is_store else "plain"

    advanced = sorted(instruction.address & instruction.results)
    sources = tuple((register, role(register)) for register in sorted(instruction.reads))
    return Operands(sources, tuple(sorted(instruction.results)), advanced[0] if advanced else "")


def plain_name(instruction: Instruction) -> str:
    """The mnemonic without its condition, but with the `s`."""
    name = instruction.mnemonic
    if name in _END_LIKE_CONDITIONS or instruction.class_ == "it" or not name.endswith(CONDITIONS):
        return name
    return name[:-2]


def _registers(text: str) -> list[str]:
    """In order; a double stands for its two singles."""
    found: list[str] = []
    for name in map(canonical, _REGISTER.findall(text)):
        number = int(name[1:]) if name[0] == "d" else 0
        found += [f"s{2 * number}", f"s{2 * number + 1}"] if name[0] == "d" else [name]
    return found


def _transfer(instruction: Instruction, text: str, name: str) -> Operands:
    multiple = "{" in text
    if multiple:
        head, _, listed = text.partition("{")
        moved, places = _registers(listed), _registers(head) or ["sp"]
        base = places[0] if "!" in head or name in ("push", "pop", "vpush", "vpop") else ""
    else:
        head, _, rest = text.partition("[")
        moved, places = _registers(head), _registers(rest)
        base = places[0] if _WRITEBACK.search(text) else ""
    address = [(register, "address") for register in places]
    if "store" in instruction.class_:
        return Operands((*((register, "data") for register in moved), *address), (), base)
    return Operands(tuple(address), tuple(moved), base)


def _compute(instruction: Instruction, text: str, name: str) -> Operands:
    class_, registers = instruction.class_, _registers(text)
    plain = [(register, "plain") for register in registers]
    if class_ in ("branch", "branch_register", "table_branch"):
        return Operands(tuple(plain), (), "")
    if class_ in ("branch_link", "branch_link_register"):
        return Operands(tuple(plain), ("lr",), "")
    if name in _COMPARES:
        return Operands(_with_shifted(text, name, plain), (FLOAT_FLAGS,) if name[0] == "v" else (), "")
    if name == "vmrs":
        return Operands(((FLOAT_FLAGS, "plain"),), (FLAGS,) if "apsr" in text else tuple(registers), "")
    if class_ == "multiply_accumulate":
        return Operands((*plain[1:3], (registers[3], "accumulator")), (registers[0],), "")
    if class_ == "multiply_accumulate_long":
        sums = ((registers[0], "accumulator"), (registers[1], "accumulator"))
        return Operands((*plain[2:], *sums), tuple(registers[:2]), "")
    if class_ == "multiply_long":
        return Operands(tuple(plain[2:]), tuple(registers[:2]), "")
    width = 2 if registers[:1] and text.startswith("d") else 1
    if class_ == "float_multiply_accumulate":
        sums = [(register, "accumulator") for register in registers[:width]]
        return Operands((*plain[width:], *sums), tuple(registers[:width]), "")
    if class_ == "float_move" and instruction.double and not text.startswith(("d", "s")):
        width = 2
    sources = plain[width:]
    if name in _KEEPS_BITS or (text.count(",") == 1 and not _UNARY.match(name)):
        sources = plain[:width] + sources
    results = list(registers[:width])
    if _SETS_GREATER_EQUAL.match(name):
        results.append(GREATER_EQUAL)
    if name == "sel":
        sources.append((GREATER_EQUAL, "plain"))
    return Operands(_with_shifted(text, name, sources), tuple(results), "")


def _with_shifted(text: str, name: str, sources: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Mark the operand that goes through the shifter before the operation."""
    match = None if _SHIFTS.match(name) else _SHIFTED.search(text)
    if match is None:
        return tuple(sources)
    shifted = canonical(match[1])
    return tuple((register, "shifted" if register == shifted else role) for register, role in sources)
