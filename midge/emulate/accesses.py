"""Where the loads and stores of executed blocks find their addresses, for `native/unicorn_counter.c` to watch."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from unicorn import arm_const, riscv_const

from midge.emulate.owners import Owners
from midge.emulate.timing import Decoded
from midge.emulate.timing.classify import CONDITIONS, without_suffixes
from midge.emulate.timing.instruction import Instruction
from midge.errors import InternalError

ACCESS = np.dtype(
    [("offset", "<i4"), ("base", "<u2"), ("index", "<u2"), ("shift", "u1"), ("bytes", "u1"), ("count", "u1"),
     ("condition", "u1"), ("flags", "u1"), ("unused", "u1", 3)]
)  # fmt: skip
STORES, ALWAYS = 1, 14
_CLASSES = frozenset({
    "load", "store", "load_double", "store_double", "load_multiple", "store_multiple", "float_load", "float_store",
    "float_load_multiple", "float_store_multiple", "table_branch",
})  # fmt: skip
_MEMORY = re.compile(r"\[(\w+)(?:, (\w+)(?:, lsl #(\w+))?)?(?:, #(-?\w+))?\](!)?")
_BASE = re.compile(r"^(\w+)!?, \{")
_REGISTERS = {"sb": "R9", "sl": "R10", "fp": "R11", "ip": "R12"}
_NARROW = {"b": 1, "h": 2}


@dataclass(frozen=True, slots=True, eq=False)
class Accesses:
    """`numbers[i]` is the record (of type ACCESS) of the halfword i of the owners' table; record 0 is none."""

    numbers: np.ndarray
    records: np.ndarray


def accesses(decoded: Decoded, owners: Owners, reads: bool, machine: str = "arm") -> Accesses:
    """The loads and stores in the given blocks that can be unaligned; with `reads` (for a cache) all of them."""
    numbers = np.zeros(len(owners.table), np.uint16)
    records: list[tuple[int, ...]] = [(0,) * 9]
    known: dict[tuple[int, ...], int] = {}
    for (start, _), block in decoded.items():
        address = start
        for instruction in block:
            place = owners.place(address) if instruction.class_ in _CLASSES else None
            if place is not None:
                record = _RECORDS[machine](instruction, address)
                if not reads and _is_aligned(record, _STACK_POINTERS[machine]):
                    address += instruction.bytes
                    continue
                if record not in known:
                    known[record] = len(records)
                    records.append(record)
                numbers[place] = known[record]
            address += instruction.bytes
    if len(records) > np.iinfo(np.uint16).max:
        raise InternalError("emulator", f"{len(records)} forms of memory accesses", "at most 65535")
    table = np.zeros(len(records), ACCESS)
    for i, record in enumerate(records):
        for name, value in zip(ACCESS.names or (), record, strict=False):
            table[i][name] = value
    return Accesses(numbers, table)


def _is_aligned(record: tuple[int, ...], stack_pointer: int) -> bool:
    """True for bytes, for words of the stack, and for constants beside the code: nothing can go wrong there."""
    offset, base, index, _, width, *_ = record
    return width == 1 or (base in (0, stack_pointer) and index == 0 and offset % width == 0)


def _record(instruction: Instruction, pc: int) -> tuple[int, ...]:
    """offset, base, index, shift, bytes, count, condition, flags."""
    class_ = instruction.class_
    base, index, shift, offset = _address(instruction, pc)
    if class_ in ("load", "store"):
        letter = _plain(instruction)[3:].removeprefix("ex").removeprefix("s")[:1]
        width, count = _NARROW.get(letter, 4), 1
    elif class_ == "table_branch":
        width, count = _NARROW[_plain(instruction)[-1]], 1
    elif class_ in ("load_double", "store_double"):
        width, count = 4, 2
    else:
        width, count = 4, 2 if class_ in ("float_load", "float_store") and instruction.double else instruction.words
    if class_.endswith("_multiple") and _descends(instruction):
        offset -= 4 * count
    flags = STORES if "store" in class_ else 0
    return offset, base, index, shift, width, count, _condition(instruction), flags


def _address(instruction: Instruction, pc: int) -> tuple[int, int, int, int]:
    """Numbers of the base and index registers, shift, offset."""
    operands = instruction.text.partition(" ")[2]
    if match := _MEMORY.search(operands):
        base, index, shift, offset, _ = match.groups()
        value = int(offset or "0", 0)
        if base == "pc":
            aligned = pc + 4 if instruction.class_ == "table_branch" else (pc + 4) & ~3
            return 0, _number(index) if index else 0, int(shift or "0", 0), aligned + value
        return _number(base), _number(index) if index else 0, int(shift or "0", 0), value
    if match := _BASE.match(operands):
        return _number(match[1]), 0, 0, 0
    if operands.startswith("{"):  # push, pop, vpush, vpop
        return arm_const.UC_ARM_REG_SP, 0, 0, 0
    raise InternalError("emulator", f"`{instruction.text}` has no address", "an instruction that accesses memory")


def _number(name: str) -> int:
    return int(getattr(arm_const, f"UC_ARM_REG_{_REGISTERS.get(name, name).upper()}"))


def _plain(instruction: Instruction) -> str:
    """The mnemonic without its condition. No load or store ends like a condition by chance."""
    names = without_suffixes(instruction.mnemonic)
    return names[2] if len(names) > 2 else names[0]


def _descends(instruction: Instruction) -> bool:
    return _plain(instruction) in ("push", "vpush") or _plain(instruction).endswith("db")


def _condition(instruction: Instruction) -> int:
    """The number of the condition under which an instruction of an IT block runs."""
    if _plain(instruction) == instruction.mnemonic:
        return ALWAYS
    return _CONDITION_NUMBERS[instruction.mnemonic[-2:]]


_CONDITION_NUMBERS = {name: i for i, name in enumerate(
    ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al"))} | {
    "cs": 2, "cc": 3}  # fmt: skip
assert set(_CONDITION_NUMBERS) == set(CONDITIONS)


_RISCV_MEMORY = re.compile(r"(-?\w+)\((\w+)\)$")


def _record_riscv(instruction: Instruction, pc: int) -> tuple[int, ...]:
    """The same for RISC-V, which has one form of addresses."""
    del pc
    match = _RISCV_MEMORY.search(instruction.text)
    if match is None:
        raise InternalError("emulator", f"`{instruction.text}` has no address", "an instruction that accesses memory")
    base = int(getattr(riscv_const, f"UC_RISCV_REG_{match[2].upper()}"))
    width = _NARROW.get(instruction.mnemonic[1], 4)
    return int(match[1], 0), base, 0, 0, width, 1, ALWAYS, STORES if instruction.class_ == "store" else 0


_RECORDS = {"arm": _record, "riscv": _record_riscv}
_STACK_POINTERS = {"arm": arm_const.UC_ARM_REG_SP, "riscv": riscv_const.UC_RISCV_REG_SP}
