"""Cycles by function of any firmware that talks by semihosting, at the addresses it was linked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from midge.emulate.accesses import Accesses, accesses
from midge.emulate.caches import follows_reads, set_caches
from midge.emulate.counter import Counter
from midge.emulate.host import Host
from midge.emulate.machine import DeviceFault, Machine
from midge.emulate.owners import function_owners
from midge.emulate.placement import Placement, place
from midge.emulate.program import Program, Segment, load, named_by_segments
from midge.emulate.report import with_memory
from midge.emulate.timing import Cost, Pipeline, cost, decode_blocks
from midge.errors import ToolError, UsageError
from midge.targets.records import Board

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
    exit_status: int
    """What the firmware returned in the first run."""


def profile(elf: Path, board: Board, args: str = "", minus_args: str | None = None) -> Profile:
    """Run a firmware from reset to its exit and count. With `minus_args` the counts of a second run are subtracted.

    A firmware that is linked for other addresses than the board's runs at its own, with the board's core, clock and
    caches (placement.place). A stripped one has a function for each segment of code.
    """
    program = load(elf)
    if not program.functions:
        program = named_by_segments(program)
    if not program.functions:
        raise UsageError(str(elf), "no segment with code", "a firmware")
    placed = place(program, board)
    counts, host = _count(program, placed, args)
    if minus_args is not None:
        counts = _difference(counts, _count(program, placed, minus_args)[0])
    names = function_owners(program).names
    functions = [
        FunctionCount(name, counts.instructions[owner], round(counts.cycles[owner]))
        for owner, name in enumerate(names, 1)
        if counts.instructions[owner]
    ]
    ranked = tuple(sorted(functions, key=lambda function: (-function.cycles, function.name)))
    return Profile(
        ranked, sum(f.instructions for f in ranked), sum(f.cycles for f in ranked), host.text, host.exit_status or 0
    )


def _count(program: Program, placed: Placement, args: str) -> tuple[Cost, Host]:
    """Counts by function, and what the host has seen. Where single accesses matter it runs twice (unicorn.trace)."""
    board = placed.board
    pipeline = Pipeline(board.core.name, board.core.timing)
    owners = function_owners(program)
    counter, host, program = run(program, placed, args, None)
    decoded = decode_blocks(program, counter.blocks)
    counts = cost(program, counter.blocks, len(owners.names), pipeline, decoded)
    if follows_reads(board) or not board.core.architecture.startswith("armv6-m"):
        watched = accesses(decoded, owners, follows_reads(board), program.machine)
        counter, _, _ = run(program, placed, args, watched)
    return with_memory(counts, counter.tallies, pipeline, board), host


def run(program: Program, placed: Placement, args: str,
         watched: Accesses | None) -> tuple[Counter, Host, Program]:  # fmt: skip
    """The counts, what the host has seen, and the program with the code that it made for itself."""
    board, host = placed.board, Host(args, heap=_free_memory(program, placed.board))
    machine = Machine(board, program, host)
    counter = Counter(machine.uc, function_owners(program), watched)
    set_caches(counter, board)
    machine.load((placed.stack_pointer, placed.entry))
    counter.enable()
    try:
        machine.run(timeout_seconds=TIMEOUT_SECONDS)
    except DeviceFault as fault:
        function = program.function_at(fault.pc)
        where = f"{program.path.name}, function `{function.name if function else '?'}`, pc {fault.pc:#010x}"
        raise ToolError(where, fault.what, f"what board {board.name} can do") from fault
    counter.disable()
    if host.exit_status is None:
        raise ToolError(program.path.name, f"broke off: {host.text.strip() or 'no message'}")
    return counter, host, _with_copied_code(program, machine, counter)


def _free_memory(program: Program, board: Board) -> tuple[int, int]:
    """From the end of the program's data to the end of the RAM."""
    ram = board.ram
    ends = [s.address + s.memory_bytes for s in program.segments if ram.base <= s.address < ram.base + ram.bytes]
    return (max(ends, default=ram.base) + 15) & ~15, ram.base + ram.bytes


def _with_copied_code(program: Program, machine: Machine, counter: Counter) -> Program:
    """With the code that ran from where the ELF has none: the firmware copied it there."""
    copies = []
    for block in counter.blocks:
        address, count = int(block["address"]), int(block["bytes"])
        if not program.has(address):
            copies.append(Segment(address, address, machine.read(address, count), count, True))
    return replace(program, segments=(*program.segments, *copies)) if copies else program


def _difference(more: Cost, less: Cost) -> Cost:
    return Cost(
        tuple(a - b for a, b in zip(more.instructions, less.instructions, strict=True)),
        tuple(a - b for a, b in zip(more.cycles, less.cycles, strict=True)),
    )
