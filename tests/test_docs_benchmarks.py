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


def test_flash_is_not_over_an_interpreters() -> None:
    """Of all committed results whose model TensorFlow Lite Micro was built with for the core."""
    results = json.loads((ROOT / "benchmarks" / "results" / "mlperf_tiny.json").read_text(encoding="utf-8"))
    known = [run for run in results if "interpreter_flash_bytes" in run]
    cores = {"cortex-m0plus", "cortex-m33", "cortex-m4", "cortex-m55", "cortex-m7"}
    assert {(run["core"], run["model"]) for run in known} == {(core, model) for core in cores for model in MODELS}
    assert all(run["flash_bytes"]["total"] <= run["interpreter_flash_bytes"] for run in known)
