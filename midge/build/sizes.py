"""What a firmware's sections and symbols take, read from its ELF; and the error for what does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from midge.build.image import FlashBytes
from midge.errors import DoesNotFitError, InternalError

LARGEST_SHOWN = 5
SHF_WRITE, SHF_ALLOC = 1, 2
_WRITABLE = (".data", ".bss", ".sdata", ".sbss")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or an array of an object file or of the firmware."""

    name: str
    section: str
    address: int
    bytes: int
    is_function: bool


@dataclass(frozen=True, slots=True)
class ObjectBytes:
    """Bytes of an object file (or of several): what goes to flash, and what to RAM."""

    flash: int
    ram: int
    symbols: tuple[Symbol, ...]

    def largest(self, writable: bool) -> str:
        """The largest symbols of RAM (writable) or flash: `name (bytes), …`."""
        ranked = sorted(
            (symbol for symbol in self.symbols if symbol.section.startswith(_WRITABLE) == writable),
            key=lambda symbol: (-symbol.bytes, symbol.name),
        )
        return ", ".join(f"{symbol.name} ({symbol.bytes})" for symbol in ranked[:LARGEST_SHOWN])


def object_bytes(paths: Iterable[Path]) -> ObjectBytes:
    """The sizes of compiled files together, before the linker removes what is not used."""
    flash = ram = 0
    symbols: list[Symbol] = []
    for path in paths:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            for section in elf.iter_sections():
                flags, size = section["sh_flags"], section["sh_size"]
                if not flags & SHF_ALLOC or section.name.startswith(".ARM."):
                    continue
                ram += size if flags & SHF_WRITE else 0
                # Initial values of .data lie in flash too.
                flash += size if section["sh_type"] != "SHT_NOBITS" else 0
            symbols += _symbols(elf)
    return ObjectBytes(flash, ram, tuple(symbols))


@dataclass(frozen=True, slots=True)
class FirmwareBytes:
    """What the network takes of a linked firmware."""

    flash: FlashBytes
    arena: int
    static: int


def firmware_bytes(path: Path, arena_symbol: str, arena_bytes: int) -> FirmwareBytes:
    """The network's share of a firmware that was linked with `harness/link.ld.j2`."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        sizes = {section.name: int(section["sh_size"]) for section in elf.iter_sections()}
        arenas = [symbol.bytes for symbol in _symbols(elf) if symbol.name == arena_symbol]
    if arena_bytes and arenas != [arena_bytes]:
        raise InternalError(
            str(path), f"symbol `{arena_symbol}` has {arenas or 'no'} bytes", f"{arena_bytes}, as the plan says"
        )

    def total(*names: str) -> int:
        return sum(sizes.get(name, 0) for name in names)

    arena = arenas[0] if arenas else 0
    return FirmwareBytes(
        FlashBytes(
            weights=total(".network.rodata", ".network.data"),
            code=total(".network.text", ".lib.text", ".lib.rodata"),
        ),
        arena=arena,
        static=total(".network.data", ".network.bss", ".lib.bss") - arena,
    )


def symbols(path: Path) -> tuple[Symbol, ...]:
    """All functions and objects of an ELF; Thumb addresses without the low bit."""
    with path.open("rb") as stream:
        return tuple(_symbols(ELFFile(stream)))


def _symbols(elf: ELFFile) -> list[Symbol]:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        return []
    found = []
    for entry in table.iter_symbols():
        kind, index = entry["st_info"]["type"], entry["st_shndx"]
        if kind not in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE") or not isinstance(index, int) or not entry.name:
            continue
        if entry.name.startswith("$"):
            continue  # mapping symbols: where code and data begin
        address = entry["st_value"] & ~1 if kind == "STT_FUNC" else entry["st_value"]
        section = elf.get_section(index).name
        found.append(Symbol(entry.name, section, address, entry["st_size"], kind == "STT_FUNC"))
    return found


def does_not_fit(board: str, memory: str, needed: int, available: int, parts: str, largest: str) -> DoesNotFitError:
    """The error that says what is needed, what there is, and who takes most."""
    cure = f"Largest: {largest}" if largest else ""
    return DoesNotFitError(
        f"board {board}", f"{needed} bytes of {memory} needed ({parts})", f"at most {available} bytes", cure
    )
