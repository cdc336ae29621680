"""Running compilers, and a folder for what is compiled once per machine."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs

from midge.errors import ToolError

TIMEOUT_SECONDS = 600


def run_tool(command: Sequence[str], what: str, cwd: Path | None = None) -> str:
    """Run a command and return what it wrote; ToolError with its own message where it fails."""
    try:
        result = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise ToolError(what, f"`{command[0]}` not found", f"it on PATH ({error})") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(what, f"no end after {TIMEOUT_SECONDS} s", "a compiler that ends") from error
    if result.returncode != 0:
        message = (result.stderr + result.stdout).strip() or f"exit status {result.returncode}"
        raise ToolError(what, f"the tool failed:\n{message}")
    return result.stdout + result.stderr


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
