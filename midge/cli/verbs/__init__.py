"""The verbs: one file each, with a click command of the name `command`; discovered by listing this folder."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

# The order in which a user meets them; verbs that are not listed follow in alphabetical order.
_ORDER = ("demo", "boards", "inspect", "compile", "run", "profile", "verify", "deploy")


class VerbGroup(click.Group):
    """A group whose commands are the files of this folder, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        found = {path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_")}
        first = [name for name in _ORDER if name in found]
        return first + sorted(found.difference(first))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"midge.cli.verbs.{cmd_name}").command
