"""Fills the console blocks of README.md with what the commands print now: `python tests/readme_blocks.py`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```console\n\$ (midge [^\n]+)\n.*?```", re.DOTALL)
COLUMNS = "96"


def output(command: str) -> str:
    """What a command prints, run from the root of the repository."""
    words = shlex.split(command)
    if "-o" in words:
        shutil.rmtree(words[words.index("-o") + 1], ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True,
        env={**os.environ, "COLUMNS": COLUMNS, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    return done.stdout


def main() -> None:
    """Rewrite README.md in place."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda match: f"```console\n$ {match[1]}\n{output(match[1])}```", text)
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
