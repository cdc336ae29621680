"""What an RV32IMC instruction is to a pipeline: its class, and the registers that matter.

An instruction that is not of RV32IMC (with Zicsr and Zifencei) is refused: the emulator may know more than the core.
"""

from __future__ import annotations

import functools
import re

import capstone

from midge.emulate.timing.instruction import Instruction
from midge.errors import UnsupportedError

_CLASSES = {
    "alu": "add addi sub and andi or ori xor xori sll slli srl srli sra srai slt slti sltu sltiu seqz snez sltz sgtz "
           "lui auipc li mv not neg nop addi16sp addi4spn",
    "multiply": "mul",
    "multiply_high": "mulh mulhu mulhsu",
    "divide": "div divu rem remu",
    "load": "lb lbu lh lhu lw lwsp",
    "store": "sb sh sw swsp",
    "branch": "beq bne blt bge bltu bgeu beqz bnez blez bgez bltz bgtz",
    "jump": "j",
    "branch_link": "jal",
    "branch_register": "jr ret",
    "branch_link_register": "jalr",
    "special_register": "csrr csrw csrs csrc csrwi csrsi csrci csrrw csrrs csrrc csrrwi csrrsi csrrci rdcycle "
                        "rdcycleh rdtime rdtimeh rdinstret rdinstreth",
    "barrier": "fence fence.i",
    "trap": "ebreak ecall mret wfi",
}  # fmt: skip
_CLASS_OF = {mnemonic: name for name, mnemonics in _CLASSES.items() for mnemonic in mnemonics.split()}
_REGISTER = re.compile(r"\b(?:zero|ra|sp|gp|tp|t[0-6]|a[0-7]|s(?:1[01]|[0-9]))\b")
_MEMORY = re.compile(r"\((\w+)\)$")
_READS_FIRST = ("branch", "store", "branch_register", "special_register")


def decode(code: bytes, address: int) -> tuple[Instruction, ...]:
    """The instructions of a block. UnsupportedError for one that RV32IMC has not."""
    decoded, end = [], 0
    for _, size, mnemonic, operands in _disassembler().disasm_lite(code, address):
        decoded.append(_instruction(mnemonic.removeprefix("c."), operands, size))
        end += size
    if end != len(code):
        where = f"timing, address {address + end:#x}"
        raise UnsupportedError(where, f"unknown instruction {code[end : end + 4].hex()}", "RV32IMC")
    return tuple(decoded)


def instruction_count(code: bytes) -> int:
    """How many instructions a block has: the two lowest bits of each tell its width."""
    count = offset = 0
    while offset < len(code):
        offset += 4 if code[offset] & 3 == 3 else 2
        count += 1
    return count


@functools.cache
def _disassembler() -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC)


@functools.lru_cache(maxsize=1 << 16)
def _instruction(mnemonic: str, operands: str, size: int) -> Instruction:
    class_ = _CLASS_OF.get(mnemonic)
    if class_ is None:
        raise UnsupportedError("timing", f"no class for the instruction `{mnemonic} {operands}`", "RV32IMC")
    registers = _REGISTER.findall(operands)
    if class_ == "branch_link" and registers and registers[0] == "zero":
        class_ = "jump"
    if class_ == "branch_link_register" and (registers[0] == "zero" if len(registers) > 1 else False):
        class_ = "branch_register"
    # Compressed arithmetic names its result first and reads it too.
    reads_first = class_ in _READS_FIRST or (size == 2 and mnemonic not in ("li", "lui", "mv") and class_ == "alu")
    reads = registers if reads_first or (len(registers) == 1 and class_ == "branch_link_register") else registers[1:]
    memory = _MEMORY.search(operands)
    return Instruction(
        class_=class_,
        text=f"{mnemonic} {operands}".strip(),
        mnemonic=mnemonic,
        bytes=size,
        words=1,
        writes_pc=False,
        loads=frozenset(registers[:1] if class_ == "load" else ()),
        address=frozenset({memory[1]} if memory else ()),
        register_offset=False,
        double=False,
        reads=frozenset(reads) - {"zero"},
        results=frozenset(() if class_ in _READS_FIRST else registers[:1]) - {"zero"},
    )
