"""What differs between the architectures that Unicorn runs: its names of them, registers, exceptions, semihosting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unicorn import arm_const, riscv_const, unicorn_const

from midge.targets.records import Core


@dataclass(frozen=True, slots=True)
class Architecture:
    """Registers are Unicorn's numbers."""

    arch: int
    mode: int
    models: Mapping[str, int]
    """Numbers of processor models by the name that a core's file has."""
    pc: int
    sp: int
    link: int
    operation: int
    """The register that holds a semihosting call's number, and then its result."""
    argument: int
    state_bit: int
    """Set in an address that execution starts at: Thumb."""
    breakpoint: int
    """The number of the exception that a semihosting call raises, as Unicorn hands it on."""
    breakpoint_code: bytes
    code_before: int
    """Bytes of the call's instructions that stand before the one that raises it."""
    exceptions: Mapping[int, str]
    has_vectors: bool
    """The first words of the flash are the stack pointer and the address of the first instruction."""


def _models(module: object, prefix: str) -> Mapping[str, int]:
    return {name.removeprefix(prefix): value for name, value in vars(module).items() if name.startswith(prefix)}


# QEMU's numbers of exceptions.
_ARM = Architecture(
    # Not UC_MODE_MCLASS: with it Unicorn takes the Cortex-M33 whatever model is asked for, and a Cortex-M0+
    # would execute divisions and unaligned accesses.
    arch=unicorn_const.UC_ARCH_ARM, mode=unicorn_const.UC_MODE_THUMB, models=_models(arm_const, "UC_CPU_ARM_"),
    pc=arm_const.UC_ARM_REG_PC, sp=arm_const.UC_ARM_REG_SP, link=arm_const.UC_ARM_REG_LR,
    operation=arm_const.UC_ARM_REG_R0, argument=arm_const.UC_ARM_REG_R1, state_bit=1,
    breakpoint=7, breakpoint_code=b"\xab\xbe", code_before=0,
    exceptions={
        1: "undefined instruction", 2: "supervisor call", 3: "prefetch abort",
        4: "data abort (an access that is not aligned)", 7: "breakpoint",
        17: "coprocessor or floating-point unit that is off", 18: "invalid state (a branch to an even address?)",
        19: "stack limit",
    }, has_vectors=True,
)  # fmt: skip
# The causes of the RISC-V privileged architecture.
_RISCV = Architecture(
    arch=unicorn_const.UC_ARCH_RISCV, mode=unicorn_const.UC_MODE_RISCV32,
    models=_models(riscv_const, "UC_CPU_RISCV32_"),
    pc=riscv_const.UC_RISCV_REG_PC, sp=riscv_const.UC_RISCV_REG_SP, link=riscv_const.UC_RISCV_REG_RA,
    operation=riscv_const.UC_RISCV_REG_A0, argument=riscv_const.UC_RISCV_REG_A1, state_bit=0,
    breakpoint=3, breakpoint_code=bytes.fromhex("1310f001 73001000 13507040"), code_before=4,
    exceptions={
        0: "instruction address misaligned", 1: "instruction access fault", 2: "undefined instruction",
        3: "breakpoint", 4: "load address misaligned", 5: "load access fault", 6: "store address misaligned",
        7: "store access fault", 8: "environment call", 11: "environment call",
    }, has_vectors=False,
)  # fmt: skip
UNDEFINED = "undefined instruction"


def architecture_of(core: Core) -> Architecture:
    """The architecture of a core that Unicorn has."""
    return _RISCV if core.is_riscv else _ARM
