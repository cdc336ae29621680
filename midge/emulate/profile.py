"""Cycles by function of any firmware that talks by semihosting, at the addresses it was linked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from midge.emulate.accesses import Accesses, accesses
from midge.emulate.caches import has_read_cache, set_caches
from midge.emulate.counter import Counter
from midge.emulate.host import Host
from midge.emulate.machine import SECURE_ALIAS_BIT, DeviceFault, Machine
from midge.emulate.owners import function_owners
from midge.emulate.program import Program, load
from midge.emulate.report import with_memory
from midge.emulate.timing import Cost, Pipeline, cost, decode_blocks
from midge.errors import ToolError, UsageError
from midge.targets import BARE_FLASH, BARE_RAM
from midge.targets.records import Board, Region

TIMEOUT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class FunctionCount:
    """What one function's own code executed (not the functions that it calls)."""

    name: str
    instructions: int
    cycles: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Functions by falling cycles; those that did not run are left out."""

    functions: tuple[FunctionCount, ...]
    instructions: int
    cycles: int
    printed: str


def profile(elf: Path, board: Board, args: str = "", minus_args: str | None = None) -> Profile:
    """Run a firmware from reset to its exit and count. With `minus_args` the counts of a second run are subtracted.

    A firmware that is linked for other addresses than the board's runs at its own, with the board's core, clock and
    caches: flash at 0 and RAM at 0x20000000, as on QEMU's MPS2 machines.
    """
    program = load(elf)
    if not program.functions:
        raise UsageError(str(elf), "no symbols of functions", "a firmware that is not stripped")
    placed = at_own_addresses(program, board)
    counts, printed = _count(program, placed, args)
    if minus_args is not None:
        counts = _difference(counts, _count(program, placed, minus_args)[0])
    names = function_owners(program).names
    functions = [
        FunctionCount(name, counts.instructions[owner], round(counts.cycles[owner]))
        for owner, name in enumerate(names, 1)
        if counts.instructions[owner]
    ]
    ranked = tuple(sorted(functions, key=lambda function: (-function.cycles, function.name)))
    return Profile(ranked, sum(f.instructions for f in ranked), sum(f.cycles for f in ranked), printed)


def at_own_addresses(program: Program, board: Board) -> Board:
    """The board, or the board with the memories of a bare core where the firmware is linked for those."""

    # Armv8-M has its memories at two addresses (machine.Machine.load).
    alias = SECURE_ALIAS_BIT if board.core.architecture.startswith("armv8") else 0

    def fits(regions: tuple[Region, ...]) -> bool:
        return all(
            any(r.base <= address and address + len(s.data) <= r.base + r.bytes
                for r in regions for address in (s.load_address, s.load_address & ~alias))
            for s in program.segments
        )  # fmt: skip

    bare = (BARE_FLASH, BARE_RAM)
    return replace(board, regions=bare) if not fits(board.regions) and fits(bare) else board


def _count(program: Program, board: Board, args: str) -> tuple[Cost, str]:
    """Counts by function, and what was printed. Where single accesses matter it runs twice (unicorn.trace)."""
    pipeline = Pipeline(board.core.name, board.core.timing)
    owners = function_owners(program)
    counter, printed = _run(program, board, args, None)
    decoded = decode_blocks(program, counter.blocks)
    counts = cost(program, counter.blocks, len(owners.names), pipeline, decoded)
    if has_read_cache(board) or not board.core.architecture.startswith("armv6-m"):
        watched = accesses(decoded, owners, has_read_cache(board))
        counter, _ = _run(program, board, args, watched)
    return with_memory(counts, counter.tallies, pipeline), printed


def _run(program: Program, board: Board, args: str, watched: Accesses | None) -> tuple[Counter, str]:
    host = Host(args)
    machine = Machine(board, program, host)
    counter = Counter(machine.uc, function_owners(program), watched)
    set_caches(counter, board)
    machine.load()
    counter.enable()
    try:
        machine.run(timeout_seconds=TIMEOUT_SECONDS)
    except DeviceFault as fault:
        function = program.function_at(fault.pc)
        where = f"{program.path.name}, function `{function.name if function else '?'}`, pc {fault.pc:#010x}"
        raise ToolError(where, fault.what, f"what board {board.name} can do") from fault
    counter.disable()
    if host.exit_failed:
        raise ToolError(program.path.name, f"ended with an error: {host.text.strip() or 'no message'}")
    return counter, host.text


def _difference(more: Cost, less: Cost) -> Cost:
    return Cost(
        tuple(a - b for a, b in zip(more.instructions, less.instructions, strict=True)),
        tuple(a - b for a, b in zip(more.cycles, less.cycles, strict=True)),
    )
