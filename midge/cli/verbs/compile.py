"""`midge compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from midge.cli.options import compile_options, compiled, model_argument, out_option, report, report_options
from midge.report.json import compile_json
from midge.report.text import compile_text


@click.command("compile", short_help="Compile a model into C and firmware.")
@model_argument
@compile_options
@out_option("Folder for the sources, firmware.elf and report.json; without it nothing is kept.")
@report_options
def command(model: Path, out: Path | None, as_json: bool, **compiling: Any) -> None:
    """Compile MODEL into C (and assembly) and a test firmware.

    The sources take any C99 compiler; firmware.elf answers over semihosting, and with --core it runs unchanged on
    QEMU's MPS2 machines.
    """
    program = compiled(model, as_json, compiling, out)
    names = [*sorted(program.files), "firmware.elf", "report.json"]
    written = f"{out}: {', '.join(names)}, and the firmware's harness" if out else "nothing (-o DIR keeps the files)"
    value = {**compile_json(program.compiled), "directory": str(out) if out else None, "files": names if out else []}
    report(as_json, value, lambda: compile_text(program.compiled, program.ram, program.arena, written))
