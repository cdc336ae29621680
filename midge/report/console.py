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
    target: IO[str] = sys.stdout if stream is None else stream
    width = None if target.isatty() or "COLUMNS" in os.environ else PIPE_COLUMNS
    return Console(file=target, width=width, highlight=False, emoji=False, soft_wrap=False, markup=False)


def table(*columns: str, numeric: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """A table with a rule under its head. Numbers stand right; they and the columns in `whole` are not cut."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        right = column in numeric
        justify = "right" if right else "left"
        made.add_column(column, justify=justify, no_wrap=right or column in whole, overflow="ellipsis")
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
    """Bytes for people: exact below 10,000, else in units of 1024, with decimals where they are not zero."""
    if count < 10_000:
        return f"{count:,} B"
    unit, name = (1024, "KiB") if count < 1024 * 1024 else (1024 * 1024, "MiB")
    if count % unit == 0:
        return f"{count // unit:,} {name}"
    return f"{count / unit:,.{1 if unit == 1024 else 2}f} {name}"


def clock(hertz: int) -> str:
    return f"{hertz / 1e6:g} MHz"


def duration(milliseconds: float) -> str:
    """A time for people, three digits."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.3g} ms" if milliseconds >= 1 else f"{milliseconds * 1000:.3g} µs"
