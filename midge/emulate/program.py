"""A linked firmware as the emulator sees it: what is loaded where, and the names of its functions."""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass, replace
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from midge.build.sizes import Symbol, symbols
from midge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of the file, the address they are loaded to, and the one they are linked for."""

    load_address: int
    address: int
    data: bytes
    memory_bytes: int
    writable: bool
    executable: bool = True

    @property
    def linked_apart(self) -> bool:
        """True for initial values: loaded to flash, used in RAM."""
        return self.load_address != self.address


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """`functions` are sorted by address, each with the bytes up to the next where the ELF gives no size."""

    path: Path
    machine: str
    """`arm` or `riscv`."""
    entry: int
    segments: tuple[Segment, ...]
    functions: tuple[Symbol, ...]
    addresses: dict[str, int]
    """Of all symbols; a function's without the Thumb bit."""

    def function_at(self, address: int) -> Symbol | None:
        """The function that contains an address."""
        index = bisect.bisect_right(self.functions, address, key=lambda symbol: symbol.address) - 1
        if index < 0:
            return None
        function = self.functions[index]
        return function if address < function.address + function.bytes else None

    def has(self, address: int) -> bool:
        """True where the ELF says what is at an address."""
        return any(0 <= address - segment.address < len(segment.data) for segment in self.segments)

    def code(self, address: int, count: int) -> bytes:
        """Bytes of the program as linked."""
        for segment in self.segments:
            offset = address - segment.address
            if 0 <= offset < len(segment.data):
                return segment.data[offset : offset + count].ljust(count, b"\0")
        raise KeyError(f"{address:#x}")


def named_by_segments(program: Program) -> Program:
    """For one that is stripped: each segment of code as one function."""
    functions = tuple(
        Symbol(f"code at {segment.address:#010x}", "", segment.address, len(segment.data), True)
        for segment in sorted(program.segments, key=lambda segment: segment.address)
        if segment.executable and segment.data
    )
    return replace(program, functions=functions)


_MACHINES = {"EM_ARM": "arm", "EM_RISCV": "riscv"}


@functools.lru_cache(maxsize=8)
def _load(path: Path, stamp: tuple[int, int]) -> Program:
    del stamp
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            if elf["e_machine"] not in _MACHINES or elf.elfclass != 32:
                raise UsageError(str(path), f"an ELF for {elf['e_machine']}", "one for Arm or 32-bit RISC-V")
            machine = _MACHINES[elf["e_machine"]]
            segments = tuple(
                Segment(
                    segment["p_paddr"],
                    segment["p_vaddr"],
                    segment.data(),
                    segment["p_memsz"],
                    bool(segment["p_flags"] & 2),
                    bool(segment["p_flags"] & 1),
                )
                for segment in elf.iter_segments("PT_LOAD")
                if segment["p_memsz"]
            )
            sections = [(s["sh_addr"], s["sh_addr"] + s["sh_size"]) for s in elf.iter_sections() if s["sh_flags"] & 4]
            entry = elf["e_entry"] & ~1
    except ELFError as error:
        raise UsageError(str(path), f"not an ELF file: {error}", "a firmware") from error
    found = symbols(path)
    addresses = {symbol.name: symbol.address & ~1 if symbol.is_function else symbol.address for symbol in found}
    return Program(path, machine, entry, segments, _sized(found, sections), addresses)


def load(path: Path) -> Program:
    """Read a firmware; read anew only when the file has changed."""
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(str(path), f"cannot be read: {error}", "a firmware") from error
    return _load(path, (status.st_mtime_ns, status.st_size))


def _sized(found: tuple[Symbol, ...], sections: list[tuple[int, int]]) -> tuple[Symbol, ...]:
    """Functions sorted by address, sizes filled in: assembly often gives none."""
    functions = sorted((s for s in found if s.is_function), key=lambda s: (s.address, -s.bytes, s.name))
    unique = [s for i, s in enumerate(functions) if i == 0 or s.address != functions[i - 1].address]
    sized = []
    for i, function in enumerate(unique):
        end = next((stop for start, stop in sections if start <= function.address < stop), function.address)
        if i + 1 < len(unique):
            end = min(end, unique[i + 1].address)
        size = function.bytes or end - function.address
        sized.append(Symbol(function.name, function.section, function.address, size, True))
    return tuple(sized)
