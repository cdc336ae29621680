"""`midge inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from midge import api
from midge.cli.options import model_argument, numerics_option, report, report_options, target_options
from midge.load import Numerics
from midge.report.json import inspect_json
from midge.report.text import inspect_text


@click.command("inspect", short_help="Show what a model is made of and where it fits.")
@model_argument
@target_options
@numerics_option
@report_options
def command(model: Path, board: str | None, core: str | None, numerics: Numerics, as_json: bool) -> None:
    """Show what MODEL is made of, and which boards it fits.

    Nothing is compiled: RAM is the plan's activations (a lower bound, the stack comes on top), flash the exact
    constants and an estimate of the code. Without a target, all boards are tried, and those that lack something
    are sorted by how close they come.
    """
    inspection = api.inspect(model, board=board, core=core, numerics=numerics)
    report(as_json, inspect_json(inspection), lambda: inspect_text(inspection))
