"""What an Armv6-M, Armv7-M or Armv8-M instruction is to a pipeline: its class, and the registers that matter.

No numbers stand here; they are in the cores' `[timing]` tables (docs/timing.md).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

import capstone

from midge.emulate.timing.classify_helium import decode_helium
from midge.emulate.timing.instruction import Instruction
from midge.errors import UnsupportedError

CONDITIONS = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "cs", "cc")

# Class of each mnemonic without suffixes; whatever is not here and not floating point is `alu`.
_CLASSES = {
    "multiply": "mul smulbb smulbt smultb smultt smulwb smulwt smuad smuadx smusd smusdx smmul smmulr",
    "multiply_accumulate": "mla mls smlabb smlabt smlatb smlatt smlawb smlawt smlad smladx smlsd smlsdx "
                           "smmla smmlar smmls smmlsr",
    "multiply_long": "smull umull",
    "multiply_accumulate_long": "smlal umlal umaal smlalbb smlalbt smlaltb smlaltt smlald smlaldx smlsld smlsldx",
    "divide": "sdiv udiv",
    "load": "ldr ldrb ldrh ldrsb ldrsh ldrt ldrbt ldrht ldrsbt ldrsht ldrex ldrexb ldrexh "
            "lda ldab ldah ldaex ldaexb ldaexh",
    "store": "str strb strh strt strbt strht strex strexb strexh "
             "stl stlb stlh stlex stlexb stlexh",
    "load_double": "ldrd",
    "store_double": "strd",
    "load_multiple": "ldm ldmia ldmdb ldmfd ldmea pop",
    "store_multiple": "stm stmia stmdb stmfd stmea push",
    "branch": "b cbz cbnz",
    "branch_link": "bl",
    "branch_register": "bx",
    "branch_link_register": "blx",
    "table_branch": "tbb tbh",
    "special_register": "mrs msr cps cpsie cpsid",
    "barrier": "dmb dsb isb",
    "float_alu": "vadd vsub vmul vnmul vabs vneg vcmp vcmpe vcvt vcvtb vcvtt vcvtr vcvta vcvtn vcvtp vcvtm vmaxnm "
                 "vminnm vsel vseleq vselge vselgt vselvs vrinta vrintn vrintp vrintm vrintr vrintx vrintz",
    "float_multiply_accumulate": "vmla vmls vnmla vnmls vfma vfms vfnma vfnms",
    "float_divide": "vdiv",
    "float_root": "vsqrt",
    "float_move": "vmov vmrs vmsr",
    "float_load": "vldr",
    "float_store": "vstr",
    "float_load_multiple": "vldm vldmia vldmdb vpop",
    "float_store_multiple": "vstm vstmia vstmdb vpush",
}  # fmt: skip
_CLASS_OF = {mnemonic: name for name, mnemonics in _CLASSES.items() for mnemonic in mnemonics.split()}
_BRANCH = re.compile(rf"b({'|'.join(CONDITIONS)})?$")
_IT = re.compile(r"it[te]{0,3}$")
_MEMORY = re.compile(r"\[([^\]]*)\](!|, )?")
_LIST = re.compile(r"\{([^}]*)\}")
_REGISTER = re.compile(r"\b(r\d+|sp|lr|pc|sb|sl|fp|ip|[sd]\d+)\b")
_SYNONYMS = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12"}
MUST_BE_ALIGNED = frozenset({
    "load_double", "store_double", "load_multiple", "store_multiple", "float_load", "float_store",
    "float_load_multiple", "float_store_multiple",
})  # fmt: skip


def decode(code: bytes, address: int) -> tuple[Instruction, ...]:
    """The instructions of a block. UnsupportedError for one that is not known here."""
    decoded: list[Instruction] = []
    done = 0  # what is between here and an instruction of Armv8.1-M is Capstone's
    for offset, size in _places(code):
        word = int.from_bytes(code[offset : offset + 2], "little") << 16 | int.from_bytes(
            code[offset + 2 : offset + 4], "little"
        )
        added = decode_helium(word, address + offset) if size == 4 else None
        if added is not None:
            decoded += [*_older(code[done:offset], address + done), added]
            done = offset + size
    return (*decoded, *_older(code[done:], address + done))


def _older(code: bytes, address: int) -> list[Instruction]:
    """Instructions of Armv8-M and before."""
    decoded, end = [], 0
    for _, size, mnemonic, operands in _disassembler().disasm_lite(code, address):
        decoded.append(_instruction(mnemonic, operands, size))
        end += size
    if end != len(code):
        where = f"timing, address {address + end:#x}"
        raise UnsupportedError(where, f"unknown instruction {code[end : end + 4].hex()}")
    return decoded


def instruction_count(code: bytes) -> int:
    """How many Thumb instructions a block has, by their widths alone."""
    return sum(1 for _ in _places(code))


def _places(code: bytes) -> Iterator[tuple[int, int]]:
    """Offset and width of each Thumb instruction."""
    offset = 0
    while offset < len(code):
        size = 4 if code[offset + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
        yield offset, size
        offset += size


@functools.cache
def _disassembler() -> capstone.Cs:
    # V8 adds Armv8-M's few instructions and changes none of the others.
    return capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8)


@functools.lru_cache(maxsize=1 << 16)
def _instruction(mnemonic: str, operands: str, size: int) -> Instruction:
    base, _, kind = mnemonic.removesuffix(".w").removesuffix(".n").partition(".")
    class_ = _class(base, kind, operands)
    registers = [canonical(name) for name in _REGISTER.findall(operands)]
    listed = _LIST.search(operands)
    in_list = [canonical(name) for name in _REGISTER.findall(listed[1])] if listed else []
    words = sum(2 if name.startswith("d") else 1 for name in in_list) or 1
    memory = _MEMORY.search(operands)
    address = [canonical(name) for name in _REGISTER.findall(memory[1])] if memory else []
    loads = _loaded(class_, registers, in_list)
    return Instruction(
        class_=class_,
        text=f"{mnemonic} {operands}".strip(),
        mnemonic=base,
        bytes=size,
        words=words,
        writes_pc="pc" in loads or (class_ == "alu" and registers[:1] == ["pc"] and not base.startswith("cmp")),
        loads=frozenset(loads),
        address=frozenset(address),
        register_offset=len(address) > 1,
        double=_is_double(class_, kind, registers),
    )


def canonical(register: str) -> str:
    return _SYNONYMS.get(register, register)


def _class(base: str, kind: str, operands: str) -> str:
    if _BRANCH.match(base):
        return "branch"
    if _IT.match(base):
        return "it"
    for name in without_suffixes(base):
        if name in _CLASS_OF:
            return _CLASS_OF[name]
    if base.startswith("v"):
        raise UnsupportedError("timing", f"no class for the instruction `{base}.{kind} {operands}`")
    return "alu"


def without_suffixes(base: str) -> list[str]:
    """The mnemonic, and what is left without an `s`, without a condition, without both."""
    names = [base, base.removesuffix("s")]
    if base.endswith(CONDITIONS):
        names += [base[:-2], base[:-2].removesuffix("s")]
    return names


def _loaded(class_: str, registers: list[str], in_list: list[str]) -> list[str]:
    if class_ == "load":
        return registers[:1]
    if class_ == "load_double":
        return registers[:2]
    return in_list if class_ == "load_multiple" else []


def _is_double(class_: str, kind: str, registers: list[str]) -> bool:
    if class_ == "float_move":
        # Two core registers to or from a double, or two singles.
        core = [name for name in registers if name[0] not in "sd" or name == "sp"]
        return len(core) >= 2
    in_double = registers[:1] != [] and registers[0].startswith("d")
    return class_.startswith("float_") and (kind.endswith("f64") or in_double)
