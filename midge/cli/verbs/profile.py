"""`midge profile`."""

from __future__ import annotations

from pathlib import Path

import click

from midge.api.profiling import profile
from midge.cli.options import report, report_options, target_options
from midge.report.profile import profile_json, profile_text


@click.command("profile", short_help="Cycles per function of any firmware.")
@click.argument("firmware", type=click.Path(path_type=Path))
@target_options
@click.option("--args", default="", metavar="TEXT",
              help="Command line that the firmware reads by semihosting; Midge's own: `fw N`.")  # fmt: skip
@click.option("--minus-args", metavar="TEXT", help="Run it with this command line too, and subtract those counts.")
@report_options
def command(
    firmware: Path, board: str | None, core: str | None, args: str, minus_args: str | None, as_json: bool
) -> None:
    """Run the ELF FIRMWARE from reset to its exit, at its own addresses, and show the cycles of each function.

    It may be anybody's firmware that ends by semihosting, with symbols. With --minus-args, what both runs share
    (start-up, initialisation, printing) cancels out: `--args 'fw 2' --minus-args 'fw 1'` leaves one inference. A
    firmware that is linked for flash at 0 and RAM at 0x20000000 runs there on any board, with its core and caches.
    """
    profiling = profile(firmware, board=board, core=core, args=args, minus_args=minus_args)
    report(as_json, profile_json(profiling), lambda: profile_text(profiling))
