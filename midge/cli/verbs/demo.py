"""`midge demo`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence

import click
import numpy as np
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.text import Text

from midge.api.demonstration import DEFAULT_BOARD, Step, demonstrate
from midge.cli.options import report, report_options
from midge.report.console import clock, console, duration, grid
from midge.report.json import demo_json
from midge.report.records import Demonstration, Result
from midge.report.text import energy_text, flash_text, heading, ram_text

EXIT_DIFFERENT = 1
DIGITS_SHOWN = 4
SHADES = " .:-=+*#%@"


@click.command("demo", short_help="Recognise real handwritten digits on an emulated board.")
@click.option("--board", default=DEFAULT_BOARD, show_default=True, metavar="BOARD", help="The board to emulate.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Only the first N test digits.")
@report_options
def command(board: str, samples: int | None, as_json: bool) -> int:
    """The whole line on a bundled model: real handwritten digits, recognised by an emulated board.

    A small int8 network is compiled for the board, run there on test digits that it was not trained on, and compared
    bit by bit with the NumPy interpreter.
    """
    with _steps(quiet=as_json) as step:
        found = demonstrate(board, samples, step)
    report(as_json, demo_json(found), lambda: _text(found))
    return 0 if found.comparison.mismatches == 0 else EXIT_DIFFERENT


@contextlib.contextmanager
def _steps(quiet: bool) -> Iterator[Step]:
    """Progress of the parts on stderr: bars on a terminal, one line a part elsewhere, nothing with --json."""
    stderr = console(sys.stderr)
    if quiet:
        yield lambda title, total: lambda done: None
        return
    if not stderr.is_terminal:

        def announce(title: str, total: int | None):
            print(f"{title} …", file=sys.stderr, flush=True)
            return lambda done: None

        yield announce
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn(),
                  console=stderr, transient=True) as bar:  # fmt: skip

        def start(title: str, total: int | None):
            for task in bar.tasks:
                bar.update(task.id, total=1, completed=1)
            number = bar.add_task(title, total=total)
            return lambda done: bar.update(number, completed=done)

        yield start


def _time_text(result: Result) -> str:
    if result.cycles is None or result.latency_ms is None:
        return result.cycles_note
    return f"{duration(result.latency_ms)} at {clock(result.board.clock_hz)}, {result.cycles:,} cycles (estimate)"


def _text(found: Demonstration) -> Sequence[RenderableType]:
    result, comparison = found.result, found.comparison
    digits = Columns([_digit(found, number) for number in _shown(found)], padding=(0, 4))
    equal = comparison.mismatches == 0
    verdict = Text(
        f"all {comparison.values:,} output values equal to the NumPy interpreter's, bit by bit" if equal
        else f"{comparison.mismatches:,} of {comparison.values:,} output values DIFFER from the NumPy interpreter's",
        style="bold green" if equal else "bold red",
    )  # fmt: skip
    facts = grid([
        ("accuracy", f"{found.accuracy:.1%}: {found.correct} of {len(found.labels)} test digits on the emulated board"),
        ("time", _time_text(result)),
        ("RAM", ram_text(result.ram, result.arena)),
        ("flash", flash_text(result.flash)),
        ("energy", energy_text(result)),
        ("battery", _battery_text(found)),
        ("fits", ", ".join(fit.board.name for fit in found.fits if fit.fits and fit.board.emulated != "planned")),
    ])  # fmt: skip
    wrong = len(found.labels) - found.correct
    mistakes = f", and one of the {wrong} that it got wrong" if wrong else ""
    shown = Text(f"Test digits that it got right{mistakes}:")
    following = Text("Next: midge inspect YOUR_MODEL.tflite")
    return heading(result.model, result.board), shown, digits, verdict, facts, following


def _shown(found: Demonstration) -> list[int]:
    """The first digits that the board gets right, and the first that it gets wrong, where there is one."""
    right = found.probabilities.argmax(1) == found.labels
    wrong = np.flatnonzero(~right)[:1].tolist()
    return np.flatnonzero(right)[: DIGITS_SHOWN - len(wrong)].tolist() + wrong


def _digit(found: Demonstration, number: int) -> Group:
    """A test digit as text, and what the board said of it."""
    image = found.images[number].reshape(found.images.shape[1:3]).astype(np.int64)
    low, high = int(found.images.min()), int(found.images.max())
    levels = (image - low) * (len(SHADES) - 1) // max(high - low, 1)
    lines = ["".join(SHADES[level] * 2 for level in row) for row in levels]
    best = np.argsort(-found.probabilities[number], kind="stable")[:3]
    scores = [f"{digit}: {found.probabilities[number][digit]:6.1%}" for digit in best]
    right = found.labels[number] == best[0]
    verdict = Text(f"it is a {best[0]}" if right else f"{best[0]}? No: {found.labels[number]}")
    verdict.stylize("bold green" if right else "bold red")
    return Group(Text("\n".join(lines)), verdict, Text("\n".join(scores)))


def _battery_text(found: Demonstration) -> str:
    battery, power = found.battery, found.result.board.power
    if battery is None or power is None:
        return "not known: the board states no currents, or an inference takes over a second"
    return (
        f"{battery.days:,.0f} days on a {battery.cell} ({battery.capacity_milliamp_hours:g} mAh) at one inference a "
        f"second, {battery.mean_milliamps * 1000:,.1f} µA on average; assumes {power.run_milliamps:g} mA running and "
        f"{power.sleep_microamps:g} µA asleep, the chip alone, no self-discharge (estimate)"
    )
