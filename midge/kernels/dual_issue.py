"""Straight runs of Thumb-2 code put in an order in which a core that issues two instructions a cycle does so.

List scheduling: cycle by cycle, the first instructions of the run that are ready and whose units are free. The rules
are those of the Cortex-M7 (docs/timing.md): one product, one load a cycle; a product takes what a load brought two
cycles later, and a sum that it adds to in the next cycle. What a register holds stays the same for every reader, so
results do; instructions that this file does not know end a run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from midge.kernels.base import Function

_REGISTER = re.compile(r"\b(?:r\d+|lr|sp)\b")
_PRODUCTS = {"smlad": 4, "smuad": 3, "smmla": 4}
"""Instructions of the multiplier, by their operands."""
_PLAIN = {"sxtb16": 2, "sxtab16": 3, "sadd16": 3, "ssub16": 3, "usat": 3, "ssat": 3}
"""Others that write their first operand and read the rest."""
_WINDOW = 64
"""How far ahead an instruction is looked for."""


@dataclass(frozen=True, slots=True)
class _Instruction:
    line: str
    unit: str
    reads: frozenset[str]
    writes: frozenset[str]
    adds_to: str = ""
    """The register that a product adds to, which it needs a cycle later than the others."""
    data: str = ""
    """The register that a store writes."""


def alternated(function: Function) -> Function:
    """A function of assembly with each straight run in a better order; one of C as it is."""
    if function.prototype is None:
        return function
    done: list[str] = []
    run: list[_Instruction] = []
    for line in function.text.splitlines():
        instruction = _parsed(line)
        if instruction is not None:
            run.append(instruction)
            continue
        done += _scheduled(run)
        done.append(line)
        run = []
    return replace(function, text="\n".join(done + _scheduled(run)) + "\n")


def _parsed(line: str) -> _Instruction | None:
    """What an instruction does; None for one that ends a run."""
    text = line.split("@")[0].strip()
    mnemonic, _, operands = text.partition(" ")
    registers = _REGISTER.findall(operands)
    if mnemonic in _PRODUCTS and len(registers) == _PRODUCTS[mnemonic]:
        adds_to = registers[3] if mnemonic != "smuad" else ""
        return _Instruction(line, "mac", frozenset(registers[1:]), frozenset(registers[:1]), adds_to)
    if mnemonic in _PLAIN and operands.count(",") + 1 >= _PLAIN[mnemonic]:
        return _Instruction(line, "alu", frozenset(registers[1:]), frozenset(registers[:1]))
    if mnemonic == "ldr" and len(registers) == 2 and "[" in operands:
        advanced = registers[1:] if operands.rstrip()[-1] != "]" else []
        return _Instruction(line, "load", frozenset(registers[1:]), frozenset(registers[:1] + advanced))
    if mnemonic in ("str", "strh", "strb") and len(registers) == 2 and operands.rstrip()[-1] == "]":
        return _Instruction(line, "store", frozenset(registers), frozenset(), data=registers[0])
    return None


def _scheduled(run: Sequence[_Instruction]) -> list[str]:
    """The run in the order in which its instructions issue."""
    needs = _needs(run)
    issued: dict[int, int] = {}
    left = list(range(len(run)))
    order: list[str] = []
    cycle = 0
    while left:
        units: list[str] = []
        for index in left[:_WINDOW]:
            is_ready = all(issued.get(other, cycle + 1) + distance <= cycle for other, distance in needs[index])
            if is_ready and _fits(run[index].unit, units):
                issued[index] = cycle
                units.append(run[index].unit)
                order.append(run[index].line)
        left = [index for index in left if index not in issued]
        cycle += 1
    return order


def _fits(unit: str, units: Sequence[str]) -> bool:
    if len(units) == 2 or (unit != "alu" and unit in units):
        return False
    return not {unit, *units} >= {"store", "mac"}


def _needs(run: Sequence[_Instruction]) -> list[list[tuple[int, int]]]:
    """For each instruction those that must come before it, and by how many cycles."""
    needs: list[list[tuple[int, int]]] = []
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    stores: list[int] = []
    loads: list[int] = []
    for index, own in enumerate(run):
        found = [(writer[name], _distance(run[writer[name]], own, name)) for name in own.reads if name in writer]
        for name in own.writes:
            found += [(reader, 0) for reader in readers.get(name, ())]
            if name in writer:
                found.append((writer[name], 1))
        if own.unit == "store":
            found += [(other, 0) for other in (*loads, *stores)]
            stores.append(index)
        elif own.unit == "load":
            found += [(other, 1) for other in stores]
            loads.append(index)
        for name in own.writes:
            writer[name] = index
            readers[name] = []
        for name in own.reads - own.writes:
            readers.setdefault(name, []).append(index)
        needs.append(found)
    return needs


def _distance(writer: _Instruction, reader: _Instruction, name: str) -> int:
    """Cycles from the instruction that writes a register to one that reads it."""
    if writer.unit == "load":
        is_base = name in writer.reads
        return 1 if is_base or reader.unit != "mac" else 2
    if writer.unit == "mac":
        return 1 if reader.adds_to == name and reader.unit == "mac" else 2
    return 1
