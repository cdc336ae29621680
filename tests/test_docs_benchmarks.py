"""The README's figures are those of the committed results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8")


@pytest.mark.parametrize(("title", "target"), [("Cortex-M4", "cortex-m4"), ("Cortex-M0+", "cortex-m0plus")])
def test_readme_shows_the_committed_results(title: str, target: str) -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "mlperf_tiny.json").read_text(encoding="utf-8"))
    runs = {run["model"]: run for run in results if run["target"] == target}
    table = (ROOT / "README.md").read_text(encoding="utf-8").split(f"| {title} |")[1].split("\n\n")[0]
    midge = next(line for line in table.splitlines() if line.startswith("| Midge |"))
    assert midge == "| Midge | " + " | ".join(f"{runs[name]['cycles'] / 1e6:.2f}" for name in MODELS) + " |"
