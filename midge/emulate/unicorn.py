"""Runs a test firmware on an emulated board: results, exact counts by layer, stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from midge.build.image import Image
from midge.emit.sources import Sources
from midge.emulate.accesses import Accesses, accesses
from midge.emulate.caches import has_read_cache, set_caches
from midge.emulate.counter import Counter
from midge.emulate.host import Host
from midge.emulate.isa import check_instructions, check_unaligned
from midge.emulate.machine import DeviceFault, Machine, is_stack_overflow
from midge.emulate.owners import Owners, layer_owners
from midge.emulate.pattern import pattern_inputs, sample_arrays, sample_bytes
from midge.emulate.program import Program, load
from midge.emulate.report import layer_counts, with_memory
from midge.emulate.timing import Pipeline, cost, decode_blocks
from midge.emulate.trace import Execution, Trace
from midge.errors import DoesNotFitError, InternalError, MidgeError, ToolError
from midge.targets.records import Board

PAINT = 0xA5
IN_FILE, OUT_FILE = "in.bin", "out.bin"
TIMEOUT_SECONDS = 1800


def trace(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None,
          check_alignment: bool = True) -> Trace:  # fmt: skip
    """One inference from reset. Without inputs, of the fixed pattern.

    Where single accesses matter it runs twice: the first run tells which instructions to watch in the second.
    """
    program = load(image.elf)
    pipeline = Pipeline(board.core.name, board.core.timing)
    data = sample_bytes(sources.inputs, pattern_inputs(sources) if inputs is None else inputs)
    owners = layer_owners(program, sources)
    run = _counted(program, sources, board, data, owners, None)
    decoded = decode_blocks(program, run.blocks)
    check_instructions(decoded, board, program)
    counts = cost(program, run.blocks, len(owners.names), pipeline, decoded)
    # Unicorn's Armv6-M faults at unaligned accesses by itself.
    if has_read_cache(board) or (check_alignment and not board.core.architecture.startswith("armv6-m")):
        watched = accesses(decoded, owners, has_read_cache(board))
        first, run = run, _counted(program, sources, board, data, owners, watched)
        # The blocks themselves may be cut elsewhere (which moves a dual-issue pipeline's cycles a little); what they
        # add up to may not change.
        again = cost(program, run.blocks, len(owners.names), None)
        if again.instructions != counts.instructions or first.output != run.output:
            raise InternalError("emulator", "two runs of one firmware differ", "the same counts and outputs")
        check_unaligned(run.unaligned, board, program)
    counts = with_memory(counts, run.tallies, pipeline)
    layers = layer_counts(sources, counts)
    return Trace(
        outputs=sample_arrays(sources.outputs, run.output),
        instructions=sum(layer.instructions for layer in layers),
        cycles=sum(layer.cycles for layer in layers),
        stack_bytes=run.stack_bytes,
        layers=layers,
        backend="unicorn",
    )


def execute(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None) -> Execution:
    """One inference from reset on any core that Unicorn has: no cycles, so no timing table is needed."""
    program = load(image.elf)
    data = sample_bytes(sources.inputs, pattern_inputs(sources) if inputs is None else inputs)
    owners = layer_owners(program, sources)
    run = _counted(program, sources, board, data, owners, None)
    check_instructions(decode_blocks(program, run.blocks), board, program)
    counts = cost(program, run.blocks, len(owners.names), None)
    return Execution(sample_arrays(sources.outputs, run.output), sum(counts.instructions), run.stack_bytes, "unicorn")


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One counted run, raw."""

    output: bytes
    blocks: np.ndarray
    tallies: np.ndarray
    unaligned: np.ndarray
    stack_bytes: int


def _counted(program: Program, sources: Sources, board: Board, data: bytes, owners: Owners,
             watched: Accesses | None) -> _Run:  # fmt: skip
    host = _host(1, data)
    machine = Machine(board, program, host)
    counter = Counter(machine.uc, owners, watched)
    set_caches(counter, board)
    machine.load()
    try:
        stack_bytes = 0
        for call in range(sources.calls):
            machine.run(program.addresses[sources.run_symbol], TIMEOUT_SECONDS)
            _check_running(host)
            stack_bytes = max(stack_bytes, _count_run(machine, counter, is_first=call == 0))
            _check_running(host)
        machine.run(timeout_seconds=TIMEOUT_SECONDS)
    except DeviceFault as fault:
        raise _fault_error(fault, board, program, owners, counter.owner) from fault
    _check_exit(host)
    return _Run(bytes(host.files[OUT_FILE]), counter.blocks, counter.tallies, counter.unaligned, stack_bytes)


def outputs(image: Image, sources: Sources, board: Board, samples: Sequence[Sequence[np.ndarray]],
            progress: Callable[[int], None] | None = None) -> list[tuple[np.ndarray, ...]]:  # fmt: skip
    """The outputs of many inferences, one after the other on a device that was reset once; nothing is counted.

    `progress` is called with the number of samples begun.
    """
    if not samples:
        return []
    program = load(image.elf)
    host = _host(len(samples), b"".join(sample_bytes(sources.inputs, sample) for sample in samples))
    sample_size = sum(port.bytes for port in sources.inputs)
    if progress is not None:
        host.on_read = lambda count: progress(-(-count // sample_size))
    machine = Machine(board, program, host)
    machine.load()
    try:
        machine.run()
    except DeviceFault as fault:
        function = program.function_at(fault.pc)
        owners = layer_owners(program, sources)
        index = (fault.pc - owners.base) // 2
        owner = int(owners.table[index]) if function and 0 <= index < len(owners.table) else 0
        raise _fault_error(fault, board, program, owners, owner) from fault
    _check_exit(host)
    data, size = bytes(host.files[OUT_FILE]), sum(port.bytes for port in sources.outputs)
    return [sample_arrays(sources.outputs, data[i * size : (i + 1) * size]) for i in range(len(samples))]


def _host(count: int, data: bytes) -> Host:
    return Host(f"fw {count} {IN_FILE} {OUT_FILE}", {IN_FILE: bytearray(data)})


def _count_run(machine: Machine, counter: Counter, *, is_first: bool) -> int:
    """From the entry of the run function to its return, counted; the stack bytes that it and calls before it used."""
    bottom, top = machine.program.addresses["harness_stack_bottom"], machine.sp
    if is_first:
        machine.write(bottom, bytes([PAINT]) * (top - bottom))
    counter.enable()
    machine.run(machine.lr & ~1, TIMEOUT_SECONDS)
    counter.disable()
    painted = machine.read(bottom, top - bottom)
    untouched = len(painted) - len(painted.lstrip(bytes([PAINT])))
    return top - bottom - untouched


def _check_exit(host: Host) -> None:
    if host.exit_failed:
        raise ToolError("firmware", f"ended with an error: {host.text.strip() or 'no message'}")


def _check_running(host: Host) -> None:
    """Guard: the firmware may end only after the run function has returned."""
    _check_exit(host)
    if host.exit_failed is not None:
        raise ToolError("firmware", f"ended before the network did: {host.text.strip() or 'no message'}")


def _fault_error(fault: DeviceFault, board: Board, program: Program, owners: Owners, owner: int) -> MidgeError:
    """Who did what where. A stack that left the RAM means that the board is too small."""
    function = program.function_at(fault.pc)
    layer = f", layer `{owners.names[owner - 1]}`" if owner else ""
    where = f"board {board.name}{layer}, function `{function.name if function else '?'}`, pc {fault.pc:#010x}"
    if is_stack_overflow(fault, board):
        top, bottom = (program.addresses[f"harness_{name}"] for name in ("network_stack_top", "stack_bottom"))
        return DoesNotFitError(
            where, f"stack overflow ({fault.what})", f"at most {top - bottom} bytes of stack",
            "Use a board with more RAM",
        )  # fmt: skip
    return InternalError(where, fault.what, "an access that the board's memory map allows")
