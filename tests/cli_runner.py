"""Runs the command line in this process, as a user's shell would see it."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midge.cli import main
from midge.demo import digits_model

NANO = ("--board", "arduino-nano-33-ble-sense")
DIGITS = str(digits_model())


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exit code and what was written."""

    status: int
    out: str
    err: str

    @property
    def object(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


def midge(*arguments: str | Path) -> Outcome:
    """`midge ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    return Outcome(status, out.getvalue(), err.getvalue())


def files_below(folder: Path) -> list[str]:
    """Every file and folder, relative."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
