"""One decoded instruction, as timing sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instruction:
    """`words` is the length of a register list in 32-bit words (1 where there is none)."""

    class_: str
    text: str
    mnemonic: str
    """Without the width (`.w`) and type (`.f32`), but with the `s` and the condition."""
    bytes: int
    words: int
    writes_pc: bool
    """By a load, a move or an addition; branches have classes of their own."""
    loads: frozenset[str]
    """Registers that a load writes."""
    address: frozenset[str]
    """Registers that make up the address of a load or store."""
    register_offset: bool
    double: bool
    """Of double precision, or moving two registers."""
    reads: frozenset[str] = frozenset()
    """Registers that it reads, and `results` that it writes: filled in on RISC-V and for what Armv8.1-M added (the rest
    of Arm's are found in operands.py)."""
    results: frozenset[str] = frozenset()
