"""`midge deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from midge import deploy
from midge.cli.options import compile_options, compiled, model_argument, out_option, report, report_options
from midge.report.files import check_place
from midge.report.json import deploy_json
from midge.report.text import deploy_text


@click.command("deploy", short_help="Write a project around the network.")
@model_argument
@compile_options
@click.option("--as", "kind", required=True, metavar="|".join(deploy.kinds()), help="The kind of project.")
@out_option("Folder for the project.", required=True)
@click.option("--samples", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
              help="Recorded inputs in the self-test, at most.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE",
              help="Record inputs from this file, as for `midge verify`.")  # fmt: skip
@click.option("--no-check", is_flag=True, help="Do not build the project and run its self-test.")
@click.option("--force", is_flag=True, help="Write into a folder that has files already.")
@report_options
def command(
    model: Path,
    kind: str,
    out: Path,
    samples: int,
    data: Path | None,
    no_check: bool,
    force: bool,
    as_json: bool,
    **compiling: Any,
) -> None:
    """Write a project that holds the network of MODEL and a self-test of recorded inputs.

    The project is built and its self-test is run on the emulated board before it is handed over.
    """
    deploy.require_kind(kind)
    check_place(out, overwrite=force)
    program = compiled(model, as_json, compiling)
    package = program.deploy(kind, out, samples=samples, data=data, check=not no_check, force=force)
    report(as_json, deploy_json(package), lambda: deploy_text(package))
