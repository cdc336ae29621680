"""Projects around an emitted network: one folder here for each kind, with `kind.py` and `templates/`.

`kind.py` has two functions: `files(project)` returns the project's files by name, and `check(project, folder)` builds
them, runs the self-test on the emulated board, and returns one line for each thing that it found good.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from midge.build.compiled import Compiled, is_core_board
from midge.deploy.project import Project, Recorded, make_project
from midge.errors import UnsupportedError, UsageError
from midge.report.files import staged
from midge.report.records import Package, RamBytes
from midge.targets.records import Board

__all__ = ["Recorded", "kinds", "require_kind", "write_project"]


def kinds() -> tuple[str, ...]:
    """The kinds of project, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/kind.py")))


def require_kind(kind: str) -> None:
    """Guard: raise UsageError where there is no such kind."""
    if kind in kinds():
        return
    near = difflib.get_close_matches(kind, kinds(), 1)
    raise UsageError(
        f"--as {kind}", "unknown kind of project", f"one of: {', '.join(kinds())}",
        f"Did you mean {near[0]}?" if near else "",
    )  # fmt: skip


def write_project(kind: str, compiled: Compiled, recorded: Recorded, out: Path, *, check: bool, force: bool) -> Package:
    """Write the project to `out`, whole or not at all: where a check fails, nothing is written."""
    require_kind(kind)
    _require_package(kind, compiled.board)
    module = importlib.import_module(f"midge.deploy.{kind}.kind")
    with staged(out, overwrite=force) as folder:
        project = make_project(compiled, recorded)
        files = _files(module, project)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        checks = module.check(project, folder) if check else ()
    return Package(
        kind=kind,
        directory=out,
        files=tuple(files),
        samples=len(project.inputs),
        checks=tuple(checks),
        model=compiled.model.name,
        board=compiled.board,
        flash=compiled.image.flash,
        ram=RamBytes(compiled.image.arena_bytes, compiled.image.static_bytes, None),
        numerics=compiled.model.numerics,
    )


def _require_package(kind: str, board: Board) -> None:
    """Guard: bare cores take the kinds that need nothing of a board; boards those that their files name."""
    allowed = ("cmake",) if is_core_board(board) else board.packages
    if kind in allowed:
        return
    possible = ", ".join(name for name in kinds() if name in allowed)
    raise UnsupportedError(f"--as {kind}", f"{board.name} is not a board for it", f"one of: {possible}")


def _files(module: ModuleType, project: Project) -> Mapping[str, str]:
    found = module.files(project)
    return {name: found[name] for name in sorted(found)}
