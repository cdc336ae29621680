"""From a trace to a result: joins what was measured with what the board's file states."""

from __future__ import annotations

from midge.build.compiled import Compiled
from midge.emulate.trace import Trace
from midge.report.records import Arena, PortInfo, RamBytes, Result
from midge.targets.records import Board


def measure(compiled: Compiled, trace: Trace) -> Result:
    """The result of one inference."""
    graph, board, image = compiled.model.graph, compiled.board, compiled.image
    return Result(
        model=compiled.model.name,
        board=board,
        macs=graph.total_macs,
        instructions=trace.instructions,
        cycles=trace.cycles,
        cycles_note=cycles_note(board),
        energy_note=energy_note(board),
        ram=RamBytes(image.arena_bytes, image.static_bytes, trace.stack_bytes),
        flash=image.flash,
        arena=Arena(compiled.plan.arena_bytes, compiled.plan.lower_bound_bytes, compiled.plan.proven_minimal),
        outputs=trace.outputs,
        output_ports=tuple(PortInfo(name, graph.type(name)) for name in graph.outputs),
        layers=trace.layers,
        numerics=compiled.model.numerics,
        compiler=image.compiler,
        backend=trace.backend,
        input_by="rows" if compiled.plan.input_rows else "frame",
    )


def cycles_note(board: Board) -> str:
    """What the cycles are estimated from, what the table rests on, and the error where it was compared with hardware.

    That they are an estimate is said wherever they are shown.
    """
    timing = board.core.timing
    memory = "flash wait states and caches included" if timing.get("flash_miss") else "no flash wait states counted"
    parts = [f"estimate: exact block counts times the {board.core.title} timing table; {memory}"]
    if basis := timing.get("basis"):
        parts.append(f"the table: {basis}")
    parts.append(f"error: {timing.get('error') or 'unknown, not compared with hardware'}")
    return "; ".join(parts)


def energy_note(board: Board) -> str:
    """Where the energy figure comes from, or why there is none."""
    if board.power is None:
        return f"no energy figure: {board.name} states no run current"
    power = board.power
    return f"estimate: {power.run_milliamps:g} mA at {power.supply_volts:g} V while running ({power.source})"
