"""Consoles: rich on a terminal, plain text in a pipe."""

from __future__ import annotations

import os
import sys
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table

PIPE_COLUMNS = 110
"""Width of tables where there is no terminal to ask."""


def console(stream: IO[str] | None = None) -> Console:
    """A console on a stream (stdout). In a pipe it writes no colours and does not guess a narrow terminal."""
    stream = stream or sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, emoji=False, soft_wrap=False, markup=False)


def table(*columns: str, numeric: tuple[str, ...] = (), title: str | None = None) -> Table:
    """A table with a rule under its head and nothing else; numbers stand right and are never cut."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", show_edge=False, expand=False)
    for column in columns:
        if column in numeric:
            made.add_column(column, justify="right", no_wrap=True)
        else:
            made.add_column(column, overflow="fold")
    return made


def grid(rows: list[tuple[str, str]]) -> Table:
    """Names and what is said of them, in two columns."""
    made = Table.grid(padding=(0, 2))
    made.add_column(no_wrap=True, style="bold")
    made.add_column(overflow="fold")
    for name, text in rows:
        made.add_row(name, text)
    return made


def size(count: int) -> str:
    """Bytes for people: exact below 10,000, else with a unit of 1024."""
    if count < 10_000:
        return f"{count:,} B"
    if count < 1024 * 1024:
        return f"{count / 1024:,.1f} KiB"
    return f"{count / 1024 / 1024:,.2f} MiB"


def clock(hertz: int) -> str:
    return f"{hertz / 1e6:g} MHz"


def duration(milliseconds: float) -> str:
    """A time for people, three digits."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.3g} ms" if milliseconds >= 1 else f"{milliseconds * 1000:.3g} µs"
