"""A bound of the stack from the linked firmware itself: what each function takes, along the deepest chain of calls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import capstone
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

_LIST = re.compile(r"\{([^}]*)\}")
_SUBTRACT = re.compile(r"sp, (?:sp, )?#(0x[0-9a-f]+|\d+)$")
_WRITE_BACK = re.compile(r"\[sp, #-(0x[0-9a-f]+|\d+)\]!")
_TARGET = re.compile(r"#(0x[0-9a-f]+|\d+)$")
_BRANCH = re.compile(r"b(eq|ne|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al)?(\.[nw])?$")


@dataclass(frozen=True, slots=True)
class StackBound:
    """Bytes that a call can't exceed; None where the code does not tell, and then the reason."""

    bytes: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What one function takes of the stack, and the addresses that it calls or ends with a jump to."""

    name: str
    bytes: int
    calls: frozenset[int]
    problem: str


@dataclass(frozen=True, slots=True)
class _Code:
    """A function's instructions in the file: (address, bytes) of each piece between data."""

    name: str
    start: int
    end: int
    pieces: tuple[tuple[int, bytes], ...]


def stack_bound(elf: Path, root: str) -> StackBound:
    """The most stack that a call of the function `root` takes, interrupts left out.

    Counts every push and every subtraction from the stack pointer in a function as if all were in force at once, so a
    bound is never too low. No bound where there is recursion, a call through a register, or a frame of varying size.
    """
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        if file["e_machine"] != "EM_ARM":
            return StackBound(None, f"no analysis for {file['e_machine']}")
        functions = {code.start: code for code in _functions(file)}
    frames: dict[int, _Frame] = {}
    try:
        start = next(address for address, code in functions.items() if code.name == root)
        return StackBound(_deepest(start, functions, frames, ()))
    except _Unknown as unknown:
        return StackBound(None, str(unknown))


class _Unknown(Exception):
    """Why there is no bound."""


def _deepest(address: int, functions: Mapping[int, _Code], frames: dict[int, _Frame], above: Sequence[int]) -> int:
    code = functions.get(address) or next((c for c in functions.values() if c.start <= address < c.end), None)
    if code is None:
        raise _Unknown(f"a call of {address:#x}, where no function is")
    if code.start in above:
        raise _Unknown(f"`{code.name}` calls itself")
    if code.start not in frames:
        frames[code.start] = _frame(code)
    frame = frames[code.start]
    if frame.problem:
        raise _Unknown(f"`{frame.name}`: {frame.problem}")
    chain = (*above, code.start)
    return frame.bytes + max((_deepest(call, functions, frames, chain) for call in sorted(frame.calls)), default=0)


def _frame(code: _Code) -> _Frame:
    disassembler = capstone.Cs(
        capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
    )
    size, calls, problem = 0, set(), ""
    for address, data in code.pieces:
        decoded = 0
        for instruction in disassembler.disasm(data, address):
            decoded += instruction.size
            mnemonic, operands = instruction.mnemonic, instruction.op_str
            size += _taken(mnemonic, operands)
            problem = problem or _problem(mnemonic, operands)
            target = _TARGET.search(operands)
            if target and (mnemonic in ("bl", "blx") or _BRANCH.match(mnemonic)):
                to = int(target[1], 0) & ~1
                # Armv6-M jumps far inside a function with BL; only to its first instruction is that a call.
                is_inside = code.start < to < code.end or (to == code.start and mnemonic != "bl")
                if not is_inside:
                    calls.add(to)
        if decoded < len(data) - 1:
            problem = problem or f"an instruction at {address + decoded:#x} that is not decoded"
    return _Frame(code.name, size, frozenset(calls), problem)


def _taken(mnemonic: str, operands: str) -> int:
    """Bytes that an instruction takes of the stack."""
    name = mnemonic.split(".")[0]
    if name in ("push", "vpush") or (name in ("stmdb", "vstmdb") and operands.startswith("sp!")):
        registers = _LIST.search(operands)
        assert registers is not None
        names = registers[1].split(", ")
        return sum(8 if one.startswith("d") else 4 for one in names)
    if name in ("sub", "subw") and (by := _SUBTRACT.match(operands)):
        return int(by[1], 0)
    if name.startswith(("str", "vstr")) and (by := _WRITE_BACK.search(operands)):
        return int(by[1], 0)
    return 0


def _problem(mnemonic: str, operands: str) -> str:
    """Why an instruction leaves no bound."""
    name = mnemonic.split(".")[0]
    if name == "blx" and not operands.startswith("#"):
        return f"a call through {operands}"
    if name == "bx" and operands != "lr":
        return f"a jump through {operands}"
    if name in ("sub", "add", "mov") and operands.startswith("sp, ") and "#" not in operands:
        # Restoring the stack pointer from the frame pointer gives back what was counted.
        return "" if name == "mov" else f"a frame of varying size (`{mnemonic} {operands}`)"
    return ""


def _functions(file: ELFFile) -> Iterator[_Code]:
    """All functions, without the data between their instructions (mapping symbols say where it lies).

    Libraries in assembly may give no sizes: such a function goes up to the next one, or to the end of its section.
    """
    table = file.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return
    symbols = [symbol for symbol in table.iter_symbols() if isinstance(symbol["st_shndx"], int)]
    marks = sorted((s["st_value"], s.name[1]) for s in symbols if s.name.startswith(("$t", "$d", "$a")))
    starts = sorted({s["st_value"] & ~1 for s in symbols if s["st_info"]["type"] == "STT_FUNC"})
    for symbol in symbols:
        if symbol["st_info"]["type"] != "STT_FUNC":
            continue
        section = file.get_section(symbol["st_shndx"])
        if section["sh_type"] == "SHT_NOBITS":
            continue
        start = symbol["st_value"] & ~1
        limit = section["sh_addr"] + section["sh_size"]
        after = next((other for other in starts if start < other <= limit), limit)
        end = start + symbol["st_size"] if symbol["st_size"] else after
        data = section.data()[start - section["sh_addr"] : end - section["sh_addr"]]
        inside = [(address, kind) for address, kind in marks if start < address < end]
        kind = max(((address, kind) for address, kind in marks if address <= start), default=(start, "t"))[1]
        edges = [(start, kind), *inside, (end, "d")]
        pieces = tuple(
            (low, data[low - start : high - start]) for (low, kind), (high, _) in pairwise(edges) if kind == "t"
        )
        yield _Code(symbol.name, start, end, pieces)
