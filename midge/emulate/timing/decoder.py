"""Decoding by architecture."""

from __future__ import annotations

from midge.emulate.timing import classify, classify_riscv
from midge.emulate.timing.instruction import Instruction

_MODULES = {"arm": classify, "riscv": classify_riscv}


def decode(machine: str, code: bytes, address: int) -> tuple[Instruction, ...]:
    """The instructions of a block of a `Program.machine`. UnsupportedError for one that is not known here."""
    return _MODULES[machine].decode(code, address)


def instruction_count(machine: str, code: bytes) -> int:
    """How many instructions a block has, by their widths alone."""
    return _MODULES[machine].instruction_count(code)
