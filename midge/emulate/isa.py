"""What the emulator executes but the board's core does not: instructions beyond its architecture, unaligned accesses.

Unicorn's models are more generous than the cores: its Cortex-M3 knows the DSP extension, its Cortex-M0 `IT` and
`CBZ`, and none but the Cortex-M0 minds unaligned multiple accesses.
"""

from __future__ import annotations

import re

import numpy as np

from midge.emulate.program import Program
from midge.emulate.timing import Decoded
from midge.emulate.timing.classify import MUST_BE_ALIGNED, without_suffixes
from midge.emulate.timing.decoder import decode
from midge.emulate.timing.instruction import Instruction
from midge.errors import InternalError
from midge.targets.records import Board, Core

_WIDE_OF_ARMV6M = ("bl", "mrs", "msr", "dmb", "dsb", "isb")
_NARROW_BEYOND_ARMV6M = re.compile(r"(it[te]{0,3}|cbn?z)$")
_DSP = re.compile(
    r"((s|u|q|uq|sh|uh)(add|sub)(8|16)|(s|u|q|uq|sh|uh)(asx|sax)|qd?(add|sub)|sel|usada?8|[su]sat16|pkh(bt|tb)"
    r"|[su]xta?b16|[su]xta[bh]|smul[bt][bt]|smulw[bt]|smla[bt][bt]|smlaw[bt]|smlal[bt][bt]|sml[as]l?dx?|smu[as]dx?"
    r"|smml[as]r?|smmulr?|umaal)$"
)


def check_instructions(decoded: Decoded, board: Board, program: Program) -> None:
    """InternalError for the first executed instruction that the core's architecture has not."""
    for (address, _), block in sorted(decoded.items()):
        for instruction in block:
            if not _is_legal(instruction, board.core):
                function = program.function_at(address)
                raise InternalError(
                    f"board {board.name}, function `{function.name if function else '?'}`, block {address:#010x}",
                    f"`{instruction.text}`",
                    f"only instructions of {board.core.title}",
                )


def _is_legal(instruction: Instruction, core: Core) -> bool:
    if core.is_riscv:
        return True  # others do not decode
    names = without_suffixes(instruction.mnemonic)
    if core.architecture == "armv6-m":
        if instruction.bytes == 4:
            return any(name in _WIDE_OF_ARMV6M for name in names)
        return not _NARROW_BEYOND_ARMV6M.match(instruction.mnemonic)
    if core.architecture == "armv7-m" and any(_DSP.match(name) for name in names):
        return False
    return core.hardware_float or not instruction.mnemonic.startswith("v")


def check_unaligned(unaligned: np.ndarray, board: Board, program: Program) -> None:
    """InternalError for an unaligned access (records of `counter.UNALIGNED`) that the core would fault at."""
    for site in unaligned:
        pc = int(site["pc"])
        instruction = _instruction_at(program, pc)
        # RISC-V leaves unaligned accesses to the platform; firmware that makes none runs on all.
        faults = board.is_riscv or board.core.architecture.startswith("armv6-m")
        if not faults and instruction.class_ not in MUST_BE_ALIGNED:
            continue
        function = program.function_at(pc)
        raise InternalError(
            f"board {board.name}, function `{function.name if function else '?'}`, pc {pc:#010x}",
            f"`{instruction.text}` accesses {int(site['bytes'])} bytes at {int(site['address']):#010x}",
            f"an aligned address, without which {board.core.title} faults",
        )


def _instruction_at(program: Program, pc: int) -> Instruction:
    half = program.code(pc, 2)
    wide = half[0] & 3 == 3 if program.machine == "riscv" else half[1] >> 3 in (0b11101, 0b11110, 0b11111)
    return decode(program.machine, program.code(pc, 4 if wide else 2), pc)[0]
