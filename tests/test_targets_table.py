"""docs/boards.md is what the files of midge/targets say."""

from __future__ import annotations

from pathlib import Path

import pytest

from midge.targets import table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "boards.md"


def test_page_is_up_to_date() -> None:
    if not PAGE.is_file():
        pytest.skip("docs/ is not beside the tests")
    assert PAGE.read_text(encoding="utf-8") == table.text(), "run: python -m midge.targets.table docs/boards.md"
