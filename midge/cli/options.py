"""Options that verbs share, and the printing that follows from --json."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import RenderableType

from midge.report.console import console
from midge.report.json import dump
from midge.report.text import show

F = TypeVar("F", bound=Callable[..., Any])


def model_argument(command: F) -> F:
    return click.argument("model", type=click.Path(path_type=Path))(command)


def target_options(command: F) -> F:
    """--board and --core."""
    command = click.option("--core", metavar="CORE", help="A bare core instead: 4 MB of flash, 4 MB of RAM.")(command)
    return click.option("--board", metavar="BOARD", help="The board; `midge boards` lists them.")(command)


def numerics_option(command: F) -> F:
    return click.option(
        "--numerics", type=click.Choice(["litert", "tflm"]), default="litert", show_default=True,
        help="Whose rounding integer results follow: LiteRT's, or TensorFlow Lite Micro's.",
    )(command)  # fmt: skip


def compile_options(command: F) -> F:
    """All that decides how a model is compiled."""
    for option in (
        click.option("--cc", type=click.Choice(["zig", "gcc"]), default="zig", show_default=True,
                     help="The cross compiler; gcc must be installed."),
        click.option("--input-by", type=click.Choice(["rows", "frame"]),
                     help="Push the input row by row, so that no frame is in RAM, or write it as a whole; else rows "
                          "where RAM comes first and the network can."),
        click.option("--flash", type=click.IntRange(min=1), metavar="BYTES", help="Flash budget."),
        click.option("--ram", type=click.IntRange(min=1), metavar="BYTES", help="RAM budget."),
        click.option("--optimize", type=click.Choice(["latency", "ram", "flash"]), default="latency", show_default=True,
                     help="What to make small."),
    ):  # fmt: skip
        command = option(command)
    return target_options(numerics_option(command))


def report_options(command: F) -> F:
    """--json and --debug."""
    # The value of --debug is read in `main`, which also reports errors from before a verb runs.
    command = click.option("--debug", is_flag=True, expose_value=False, help="On an error, print a traceback.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")(command)


def out_option(help: str, required: bool = False) -> Callable[[F], F]:
    return click.option("-o", "--out", type=click.Path(path_type=Path), metavar="DIR", required=required, help=help)


def report(as_json: bool, value: Any, text: Callable[[], Sequence[RenderableType]]) -> None:
    """Print a result: its JSON form, or its text for people."""
    if as_json:
        click.echo(dump(value))
    else:
        show(console(), *text())


@contextlib.contextmanager
def progress(title: str, total: int | None, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """A progress bar on stderr while the block runs; none with --json or without a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    stderr = console(sys.stderr)
    if quiet or not stderr.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
