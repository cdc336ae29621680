"""What the instructions that Armv8.1-M added are to a pipeline: Helium's, low-overhead loops, selections, long shifts.

Capstone knows none of them. Nothing else is encoded as they are on Armv6-M to Armv8-M.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from midge.emulate.timing.helium import ENCODINGS
from midge.emulate.timing.instruction import Instruction

FLAGS = "flags"


def _core(shift: int) -> Callable[[int], list[str]]:
    return lambda word: [_NAMES[word >> shift & 15]]


def _vectors(shift: int, count: int = 1) -> Callable[[int], list[str]]:
    """Vectors that follow each other; the number of the first has three bits."""
    return lambda word: [f"q{(word >> shift & 7) + i}" for i in range(count)]


_NAMES = (*(f"r{number}" for number in range(13)), "sp", "lr", "pc")
FIELDS: Mapping[str, Callable[[int], list[str]]] = {
    "d": _vectors(13),
    "n": _vectors(17),
    "m": _vectors(1),
    "p": _vectors(13, 2),
    "f": _vectors(13, 4),
    "r": _core(0),
    "t": _core(12),
    "R": _core(16),
    "B": lambda word: [_NAMES[word >> 16 & 7]],
    "e": lambda word: [_NAMES[word >> 12 & 14]],
    "h": lambda word: [_NAMES[(word >> 20 & 7) * 2 + 1]],
    "E": lambda word: [_NAMES[word >> 16 & 14]],
    "O": lambda word: [_NAMES[(word & 14) + 1]],
}
"""By letter of an encoding's form: the registers of a word."""
_ADDRESS = frozenset("RBn")
_VECTOR_BYTES = 16


@dataclass(frozen=True, slots=True)
class _Encoding:
    value: int
    mask: int
    name: str
    class_: str
    writes: str
    reads: str


@functools.cache
def _encodings() -> tuple[_Encoding, ...]:
    """Those with most bits in their masks first."""
    found, class_, form = [], "", ""
    mask = 0
    for line in ENCODINGS.strip().splitlines():
        if not line.startswith(" "):
            class_, form = line.split()
            continue
        for part in line.split():
            name, _, value = part.partition(":")
            if not value:
                mask = int(name, 16)
                continue
            found.append(_Encoding(int(value, 16), mask, name, class_, *form.split("<")))
    return tuple(sorted(found, key=lambda one: -one.mask.bit_count()))


def decode_helium(word: int, address: int) -> Instruction | None:
    """The instruction of a word (first halfword on top), or None where it is not one of Armv8.1-M's own."""
    first = word >> 24
    if first in (0xEC, 0xED, 0xEE, 0xEF, 0xFC, 0xFD, 0xFE, 0xFF) or word >> 16 & 0xFFC0 == 0xF000:
        vector = _vector(word)
        if vector is not None:
            return vector
    if word & 0xFF80_D001 == 0xF000_C001:
        return _loop(word, address)
    return _scalar(word) if word & 0xFFF0_0000 == 0xEA50_0000 else None


@functools.lru_cache(maxsize=1 << 16)
def _vector(word: int) -> Instruction | None:
    encoding = next((one for one in _encodings() if word & one.mask == one.value), None)
    if encoding is None:
        return None
    results = [register for letter in encoding.writes for register in FIELDS[letter](word)]
    reads = [register for letter in encoding.reads for register in FIELDS[letter](word)]
    is_memory = encoding.class_.startswith(("vector_load", "vector_store", "vector_gather", "vector_scatter"))
    is_indexed = encoding.class_ in ("vector_gather", "vector_scatter")
    places = _ADDRESS | ({"m"} if is_indexed else set())
    address = {r for letter in encoding.reads if letter in places for r in FIELDS[letter](word)} if is_memory else set()
    return _instruction(
        encoding.class_, encoding.name, results, reads, address, _elements(word, encoding) if is_indexed else 1
    )


def _elements(word: int, encoding: _Encoding) -> int:
    """How many elements a gather or scatter moves."""
    if encoding.reads.endswith("m"):
        return _VECTOR_BYTES >> (word >> 7 & 3)
    return 2 if word & 0x100 else 4


def _loop(word: int, address: int) -> Instruction | None:
    """Starts and ends of low-overhead loops; where they lead stands at the end of the text, as for branches."""
    distance = (word >> 1 & 0x3FF) << 2 | (word >> 11 & 1) << 1
    is_end = word & 0xFFCF_F001 == 0xF00F_C001
    if is_end:
        name = "letp" if word >> 20 & 1 else "le"
        return _instruction("loop_end", name, ["lr"], ["lr"], set(), 1, f"#{address + 4 - distance:#x}")
    if word & 0xFFFF_FFFF == 0xF00F_E001:
        return _instruction("special_register", "lctp", [], [], set())
    tail = "" if word >> 22 & 1 else "tp"
    counter = FIELDS["R"](word)
    if word & 0xFF80_FFFF == 0xF000_E001:
        return _instruction("loop_start", f"dls{tail}", ["lr"], counter, set())
    if word & 0xFF80_F001 == 0xF000_C001:
        return _instruction("loop_skip", f"wls{tail}", ["lr"], counter, set(), 1, f"#{address + 4 + distance:#x}")
    return None


def _scalar(word: int) -> Instruction | None:
    """Conditional selections, and shifts of one or two registers: the places where ORRS would use SP or PC."""
    if word & 0xC000 == 0x8000:
        names = {0: "csel", 1: "csinc", 2: "csinv", 3: "csneg"}
        sources = [_NAMES[word >> 16 & 15], _NAMES[word & 15], FLAGS]
        return _instruction("alu", names[word >> 12 & 3], [_NAMES[word >> 8 & 15]], sources, set())
    if word & 0x800D != 0x000D:
        return None
    is_single = word >> 8 & 0xF == 0xF
    low = _NAMES[word >> 16 & (15 if is_single else 14)]
    moved = [low] if is_single else [low, _NAMES[word >> 8 & 15 | 1]]
    by = [] if word & 2 else [_NAMES[word >> 12 & 15]]
    return _instruction("long_shift", "sshl" if is_single else "lshl", moved, [*moved, *by], set())


def _instruction(class_: str, name: str, results: list[str], reads: list[str], address: set[str], words: int = 1,
                 target: str = "") -> Instruction:  # fmt: skip
    registers = dict.fromkeys([*results, *reads])
    return Instruction(
        class_=class_,
        text=f"{name} {', '.join([*registers, *([target] if target else [])])}".strip(),
        mnemonic=name,
        bytes=4,
        words=words,
        writes_pc=False,
        loads=frozenset(results) - address if class_ in ("vector_load", "vector_gather") else frozenset(),
        address=frozenset(address),
        register_offset=False,
        double=False,
        reads=frozenset(reads) - {"pc"},
        results=frozenset(results) - {"pc"},
    )
