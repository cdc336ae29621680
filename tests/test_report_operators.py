"""docs/operators.md is what importers and kernels say."""

from __future__ import annotations

from pathlib import Path

import pytest
import tflite

from midge.report import operators

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"


def test_page_is_up_to_date() -> None:
    if not PAGE.is_file():
        pytest.skip("docs/ is not beside the tests")
    assert PAGE.read_text(encoding="utf-8") == operators.text(), (
        "run: python -m midge.report.operators docs/operators.md"
    )


def test_the_measure_names_operators_of_the_format() -> None:
    assert len(set(operators.MICRO)) == len(operators.MICRO)
    assert all(hasattr(tflite.BuiltinOperator, name) for name in operators.MICRO)
