"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the repository; tests skip where it is absent."""
    path = Path(os.environ.get("MIDGE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (path / "models").is_dir():
        pytest.skip(f"no test material at {path} (set MIDGE_SHARED)")
    return path


@pytest.fixture(scope="session")
def mlperf_tiny(shared: Path) -> Path:
    """The MLPerf Tiny reference models."""
    return shared / "models" / "mlperf-tiny"
