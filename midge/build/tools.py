"""Running compilers, and a folder for what is compiled once per machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

from midge.errors import ToolError

TIMEOUT_SECONDS = 600


def run_tool(command: Sequence[str], what: str, cwd: Path | None = None) -> str:
    """Run a command and return what it wrote; ToolError with its own message where it fails.

    Where the wait is interrupted, the command and all that it started end too, so that nothing is written later.
    """
    try:
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", start_new_session=os.name != "nt",
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ToolError(what, f"`{command[0]}` not found", f"it on PATH ({error})") from error
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        _kill(process)
        raise ToolError(what, f"no end after {TIMEOUT_SECONDS} s", "a compiler that ends") from error
    except BaseException:
        _kill(process)
        raise
    if process.returncode != 0:
        message = (err + out).strip() or f"exit status {process.returncode}"
        raise ToolError(what, f"the tool failed:\n{message}")
    return out + err


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process and its children."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The file `name` of the user's cache, made by `make(path)` where it is absent.

    Safe where several processes do this at once: each makes its own file, and renaming is atomic.
    """
    folder = platformdirs.user_cache_path("midge") / "built"
    path = folder / name
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        fresh = Path(temporary) / name
        make(fresh)
        try:
            fresh.replace(path)
        except OSError:
            # Windows refuses to replace a library that another process has loaded; theirs is the same.
            if not path.is_file():
                raise
    return path
