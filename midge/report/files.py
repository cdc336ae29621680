"""Output folders: probed before the work, filled at its end, and left as they were where the work fails."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from midge.errors import UsageError


@contextlib.contextmanager
def staged(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder whose files move to `out` when the block ends well; else nothing is left of them.

    Making that folder beside the final place is the probe that the place can be written. `overwrite` allows an
    `out` that has files; those of the same names are replaced and the others stay.
    """
    place = _place(out, overwrite)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".midge-", dir=place))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield folder
        try:
            _move(folder, out)
        except OSError as error:
            raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_place(out: Path, *, overwrite: bool) -> None:
    """Guard for before long work: raise UsageError where `staged` would refuse this place at once."""
    _place(out, overwrite)


def _place(out: Path, overwrite: bool) -> Path:
    """The folder to stage in: `out` itself or its nearest parent that exists, so that moving is renaming."""
    if out.is_dir():
        if not overwrite and any(out.iterdir()):
            raise UsageError(str(out), "the folder is not empty", "a new or empty one", "Add --force to write into it")
        return out
    if out.exists():
        raise UsageError(str(out), "is a file", "a folder to write to")
    for parent in out.absolute().parents:
        if parent.is_dir():
            return parent
        if parent.exists():
            raise UsageError(str(out), f"{parent} is a file", "a folder to write to")
    raise UsageError(str(out), "no such drive or folder")


def _unwritable(out: Path, error: OSError) -> UsageError:
    reason = (error.strerror or str(error)).lower()
    return UsageError(str(out), f"cannot write the output folder ({reason})", cure="Choose another with -o DIR")


def _move(folder: Path, out: Path) -> None:
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp made it readable for its owner alone; a project is for everyone whom the umask allows.
        shutil.copymode(out.parent, folder)
        folder.rename(out)
        return
    for path in sorted(folder.rglob("*")):
        target = out / path.relative_to(folder)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            path.replace(target)
