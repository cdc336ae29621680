"""The benchmarks that hold timing tables against other figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from midge.emulate.timing.classify import decode

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_emulated_against_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pair is printed where both lists have it; the engine's build for another core is not taken for it."""
    measured = [
        {"peer": "tflite-micro + cmsis-nn", "core": core, "model": "kws_ref_model", "cycles": cycles}
        for core, cycles in (("cortex-m4", 1), ("cortex-m33", 900), ("cortex-m7", 2))
    ]
    published = [
        {"board": "EK-RA6M4 Renesas", "software": "TFLM + CMSIS-NN", "model": "kws_ref_model", "cycles": 1000},
        {"board": "EK-RA6M4 Renesas", "software": "TFLM + CMSIS-NN", "model": "ad01_int8", "cycles": 1000},
    ]
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"measured": measured, "published": published}), encoding="utf-8")
    benchmark("timing_published").main([str(path)])
    rows = [line for line in capsys.readouterr().out.splitlines() if "_" in line]
    assert len(rows) == 1 and rows[0].startswith("| EK-RA6M4 | TFLM | kws_ref_model | 900 | 1,000 | 0.90 |")


def test_without_the_file_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark("timing_published").main([str(tmp_path / "none.json")])
    assert capsys.readouterr().out == f"skipped: no {tmp_path / 'none.json'}\n"


def test_first_order_table() -> None:
    """ldr, ldr, ldrd, sdiv, strd, add; then a branch that was taken three times of four."""
    code = decode(bytes.fromhex("0868 4a68 d1e90023 91fbf2f1 c1e90423 4918 f3d1".replace(" ", "")), 0)
    assert [one.class_ for one in code] == [
        "load", "load", "load_double", "divide", "store_double", "alu", "branch"]  # fmt: skip
    cycles = benchmark("timing_first_order").block_cycles(code, np.array([[1, 0], [0, 3]]))
    assert cycles == 4 * (2 + 1 + 3 + 7 + 2 + 1) + 1 * 1 + 3 * 3
