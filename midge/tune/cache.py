"""The user's measurements, a file for each target: one JSON object a line, added as they are made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True, slots=True)
class Measurement:
    """One layer under one kernel on the emulated target. Without `cycles` it could not run, and `failure` says why."""

    cycles: int | None
    code_bytes: int
    failure: str = ""


class Cache:
    """Measurements by key. What one run has added the next one finds, also after an interruption in between."""

    def __init__(self, target: str, folder: Path | None = None) -> None:
        self._path = (folder or platformdirs.user_cache_path("midge") / "tuning") / f"{target}.jsonl"
        self._known = _read(self._path)

    def get(self, key: str) -> Measurement | None:
        return self._known.get(key)

    def add(self, found: Mapping[str, Measurement]) -> None:
        """Keep measurements: in one write at the file's end, so that runs side by side do not mix lines."""
        self._known |= found
        lines = "".join(json.dumps({"key": key, **asdict(m)}) + "\n" for key, m in found.items())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


def _read(path: Path) -> dict[str, Measurement]:
    """All whole lines of a file; one that a crash has cut short is measured again."""
    known: dict[str, Measurement] = {}
    if not path.is_file():
        return known
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            key = row.pop("key")
            known[key] = Measurement(**row)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return known
