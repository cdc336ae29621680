"""Profiles of firmware, as JSON and as text for people."""

from __future__ import annotations

from rich.console import RenderableType

from midge import __version__
from midge.report.console import clock, duration, grid, table
from midge.report.json import Json
from midge.report.records import Profiling
from midge.report.text import heading

PRINTED_LINES_SHOWN = 8
PRINTED_COLUMNS_SHOWN = 90


def profile_json(profiling: Profiling) -> Json:
    """The object of `midge profile`."""
    return {
        "firmware": profiling.firmware,
        "board": profiling.board.name,
        "core": profiling.board.core.name,
        "clock_hz": profiling.board.clock_hz,
        "args": profiling.args,
        "minus_args": profiling.minus_args,
        "instructions": profiling.instructions,
        "cycles": profiling.cycles,
        "latency_ms": profiling.latency_ms,
        "functions": [
            {"name": function.name, "instructions": function.instructions, "cycles": function.cycles}
            for function in profiling.functions
        ],
        "printed": profiling.printed,
        "exit_status": profiling.exit_status,
        "timing_note": profiling.cycles_note,
        "backend": profiling.backend,
        "midge": __version__,
    }


def profile_text(profiling: Profiling) -> tuple[RenderableType, ...]:
    """What `midge profile` shows."""
    functions = table("function", "instructions", "cycles", "share", "each",
                      numeric=("instructions", "cycles", "share", "each"))  # fmt: skip
    # Generated functions differ at the ends of their long names.
    functions.columns[0].overflow = "fold"
    for function in profiling.functions:
        share = function.cycles / profiling.cycles if profiling.cycles else 0.0
        each = f"{function.cycles / function.instructions:.2f}"
        functions.add_row(function.name, f"{function.instructions:,}", f"{function.cycles:,}", f"{share:.1%}", each)
    functions.add_section()
    functions.add_row("total", f"{profiling.instructions:,}", f"{profiling.cycles:,}", "", "")
    runs = f"`{profiling.args}`" if profiling.args else "no arguments"
    if profiling.minus_args is not None:
        runs += f", minus `{profiling.minus_args}`"
    facts = grid([
        ("counted", f"from reset to exit, {runs}"),
        ("time", f"{duration(profiling.latency_ms)} at {clock(profiling.board.clock_hz)}"),
        ("cycles", profiling.cycles_note),
        ("each", "cycles per instruction"),
        *([("returned", str(profiling.exit_status))] if profiling.exit_status else []),
        *(("printed", line) for line in _lines(profiling.printed)),
    ])  # fmt: skip
    return heading(profiling.firmware, profiling.board), functions, facts


def _lines(printed: str) -> list[str]:
    """The first lines, cut to a width: a network may print thousands of values."""
    lines = [line if len(line) <= PRINTED_COLUMNS_SHOWN else f"{line[:PRINTED_COLUMNS_SHOWN]}…"
             for line in printed.splitlines()]  # fmt: skip
    more = len(lines) - PRINTED_LINES_SHOWN
    return lines[:PRINTED_LINES_SHOWN] + ([f"… ({more} lines more)"] if more > 0 else [])
