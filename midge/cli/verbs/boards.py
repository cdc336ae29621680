"""`midge boards`."""

from __future__ import annotations

import click

from midge import api, targets
from midge.cli.options import report, report_options
from midge.report.json import board_json
from midge.report.text import board_text, boards_text, cores_text


@click.command("boards")
@click.argument("name", required=False)
@report_options
def command(name: str | None, as_json: bool) -> None:
    """List the boards and their limits, or show one of them.

    With --json: a list of objects, of one object where NAME is given.
    """
    chosen = (api.find_target(name, None),) if name else api.boards()
    report(
        as_json, [board_json(board) for board in chosen],
        lambda: board_text(chosen[0]) if name else (*boards_text(chosen), cores_text(targets.cores())),
    )  # fmt: skip
