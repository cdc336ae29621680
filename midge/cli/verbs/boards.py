"""`midge boards`."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import RenderableType

from midge import api, deploy, targets
from midge.cli.options import report, report_options
from midge.report.console import console
from midge.report.json import board_json
from midge.report.text import board_text, boards_text, cores_text
from midge.targets.records import Board

WIDE_COLUMNS = 100


@click.command("boards", short_help="List the boards, or show one.")
@click.argument("name", required=False)
@report_options
def command(name: str | None, as_json: bool) -> None:
    """List the boards and their limits, or show one of them.

    With --json: a list of objects, of one object where NAME is given.
    """
    chosen = (api.find_target(name, None),) if name else api.boards()
    report(
        as_json,
        [board_json(board, deploy.kinds()) for board in chosen],
        lambda: board_text(chosen[0], deploy.kinds()) if name else _list(chosen),
    )


def _list(boards: Sequence[Board]) -> Sequence[RenderableType]:
    wide = console().width >= WIDE_COLUMNS
    return *boards_text(boards, wide), cores_text(tuple(targets.cores().values()))
