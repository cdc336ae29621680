"""Where a firmware that Midge did not build runs: on the board's memories, or on memories at its own addresses."""

from __future__ import annotations

from dataclasses import dataclass, replace

from midge.emulate.machine import SECURE_ALIAS_BIT
from midge.emulate.program import Program
from midge.errors import UsageError
from midge.targets import core_board
from midge.targets.records import Board, Region

WINDOW_BYTES = 1 << 20
"""Memories that are made up for a firmware are multiples of it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The board with the memories that the firmware gets, and how it starts."""

    board: Board
    stack_pointer: int
    entry: int


def place(program: Program, board: Board) -> Placement:
    """The board's own memories where the firmware fits them, or a bare core's, or what its segments ask for.

    Caches and wait states of the board stand before whatever memory then is flash. A firmware with a vector table
    starts as the core does; one without starts at its ELF's entry, with the stack at the end of the RAM.
    """
    vectors = _vectors(program)
    own = replace(board, regions=tuple(_as_ram(region) for region in board.regions))
    bare = replace(board, regions=core_board(board.core.name).regions)
    stack = [vectors[0]] if vectors else []
    alias = SECURE_ALIAS_BIT if board.core.architecture.startswith("armv8") else 0
    placed = next((b for b in (own, bare) if _fits(program, b.regions, stack, alias)), None)
    if placed is None:
        placed = replace(board, regions=_asked_for(program, stack))
    ram = placed.ram
    thumb = 0 if board.is_riscv else 1
    return Placement(placed, *(vectors or (ram.base + ram.bytes, program.entry | thumb)))


def _as_ram(region: Region) -> Region:
    """Memories in which Midge places nothing yet are there for other firmware."""
    return replace(region, kind="ram") if region.kind == "external" else region


def _vectors(program: Program) -> tuple[int, int] | None:
    """Stack pointer and reset address: the first two words of the lowest segment that look like them.

    RISC-V has none.
    """
    if program.machine == "riscv":
        return None
    for segment in sorted(program.segments, key=lambda segment: segment.load_address):
        stack, reset = (int.from_bytes(segment.data[i : i + 4], "little") for i in (0, 4))
        to_code = any(s.address <= reset - 1 < s.address + len(s.data) for s in program.segments)
        if len(segment.data) >= 8 and stack % 4 == 0 and reset % 2 == 1 and to_code:
            return stack, reset
    return None


def _fits(program: Program, regions: tuple[Region, ...], stack: list[int], alias: int) -> bool:
    """True where each segment, as loaded and as linked, and the stack lie in a region."""

    def inside(address: int, count: int) -> bool:
        # Armv8-M has its memories at two addresses (machine.Machine.load).
        return any(r.base <= a and a + count <= r.base + r.bytes for r in regions for a in (address, address & ~alias))

    segments = all(
        inside(s.load_address, len(s.data)) and (not s.linked_apart or inside(s.address, s.memory_bytes))
        for s in program.segments
    )
    return segments and all(inside(top - 4, 4) for top in stack)


def _asked_for(program: Program, stack: list[int]) -> tuple[Region, ...]:
    """Flash for segments that hold code or are loaded elsewhere than linked, RAM for the rest and for the stack."""
    flash, ram = set(), {(top - 4) // WINDOW_BYTES for top in stack}
    for segment in program.segments:
        code = any(0 <= f.address - segment.address < len(segment.data) for f in program.functions)
        loaded = _windows(segment.load_address, max(len(segment.data), 1))
        if segment.linked_apart:
            ram |= _windows(segment.address, segment.memory_bytes)
            flash |= loaded
        elif code or not segment.writable:
            flash |= loaded
        else:
            ram |= _windows(segment.address, segment.memory_bytes)
    if not ram or not flash or flash & ram:
        raise UsageError(
            str(program.path), "no way to tell its flash from its RAM",
            "code and constants in segments a megabyte or more from data and stack",
        )  # fmt: skip
    return (*_regions("flash", flash), *_regions("ram", ram))


def _windows(address: int, count: int) -> set[int]:
    return set(range(address // WINDOW_BYTES, (address + max(count, 1) - 1) // WINDOW_BYTES + 1))


def _regions(kind: str, windows: set[int]) -> list[Region]:
    """One region for each run of windows; the first is the lowest."""
    ordered, regions = sorted(windows), []
    for i, window in enumerate(ordered):
        if i and window == ordered[i - 1] + 1:
            regions[-1] = replace(regions[-1], bytes=regions[-1].bytes + WINDOW_BYTES)
        else:
            regions.append(Region(f"{kind}{len(regions) or ''}", kind, window * WINDOW_BYTES, WINDOW_BYTES))
    return regions
