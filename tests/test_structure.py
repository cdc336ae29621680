"""The shape of the program: imports point backwards along the line, files stay small, discovery is complete."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import midge
from midge.kernels import kernel_files
from midge.ops import CASES

ROOT = Path(midge.__file__).parent
BASE = {"errors", "ir", "ops", "targets"}
"""What every stage may import (these import each other and nothing else)."""
LINE = [
    "load",
    "passes",
    "compress",
    "write",
    "kernels",
    "plan",
    "emit",
    "build",
    "emulate",
    "tune",
    "reference",
    "report",
    "deploy",
    "demo",
    "pipeline",
    "api",
    "cli",
    "__main__",
]


def room(path: Path) -> str:
    """The stage that a file belongs to."""
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Stages that a file imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("midge."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "midge":
            found.update(name.name for name in node.names if (ROOT / name.name).exists())
        elif isinstance(node, ast.Import):
            found.update(n.name.split(".")[1] for n in node.names if n.name.startswith("midge."))
    return found


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_backwards(path: Path) -> None:
    here = room(path)
    for there in imports(path) - {here}:
        if here in BASE:
            assert there in BASE, f"{path} imports {there}"
        else:
            assert there in BASE or LINE.index(there) < LINE.index(here), f"{path} imports {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420


def test_every_operator_has_a_portable_kernel() -> None:
    portable = {op for op, isa in kernel_files() if isa == "portable"}
    assert set(CASES) - portable == {"reshape"}  # another view of the same bytes
