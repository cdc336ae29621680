"""`midge run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from midge.cli.options import compile_options, compiled, model_argument, report, report_options
from midge.report.json import run_json
from midge.report.text import run_text


@click.command("run", short_help="Run one inference on the emulated board.")
@model_argument
@compile_options
@click.option("--input", "input_path", type=click.Path(path_type=Path), metavar="FILE",
              help="Input, .npy or .npz; else the fixed pattern int8((i*37+11) mod 256 - 128).")  # fmt: skip
@click.option("--backend", type=click.Choice(["unicorn", "qemu"]),
              help="The emulator: unicorn where it has the core, else qemu, which must be installed.")  # fmt: skip
@report_options
def command(
    model: Path, input_path: Path | None, backend: Literal["unicorn", "qemu"] | None, as_json: bool, **compiling: Any
) -> None:
    """Compile MODEL and run one inference on the emulated board.

    Instructions, stack, RAM and flash are measured; cycles come from the core's timing table, and energy from the
    board's run current.
    """
    program = compiled(model, as_json, compiling)
    result = program.run(input_path, backend=backend)
    report(as_json, run_json(result), lambda: run_text(result))
