"""Damaged models, each imported in a process of its own: a clean error or a graph. `benchmarks/fuzz.py` does 10,000."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_networks
import pytest

from midge.ops import CASES
from midge.write.tflite import write_tflite

pytestmark = pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="no fork on this system")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NETWORKS = ("arithmetic", "choices", "dynamic_quantization", "gru", "pads", "products", "residual", "shape_arithmetic",
            "signal", "slices")  # fmt: skip
OPERATORS = ("add", "concatenation", "conv2d", "depthwise_conv2d", "fully_connected", "mean", "pad", "softmax", "tanh")
COUNT = 150
"""Mutations of each of two seeds."""


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The benchmark, and what runs its processes."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fuzz
    import limited

    return fuzz, limited


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Small valid models of both formats."""
    for name in NETWORKS:
        onnx.save(onnx_networks.NETWORKS[name](), tmp_path / f"{name}.onnx")
    for name in OPERATORS:
        graph = CASES[name][0].build(np.random.default_rng(0))
        (tmp_path / f"{name}.tflite").write_bytes(write_tflite(graph))
    return sorted(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [11, 12])
def test_damaged_models(seed: int, modules: tuple[Any, Any], sources: list[Path]) -> None:
    fuzz, limited = modules
    made = fuzz.Fuzz(sources, seed)
    fuzz.warm_up(made)
    records = dict(limited.each(made, range(COUNT), fuzz.LIMITS, jobs=1))
    failures = {number: record for number, record in records.items() if fuzz.is_failure(record)}
    assert not failures, failures
    outcomes = {record["outcome"] for record in records.values()}
    assert {"imported", "ModelError", "UnsupportedError"} <= outcomes


def test_damaged_models_of_frameworks(
    modules: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives: .keras and .pt2; and .h5."""
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("keras", reason="keras is not installed")
    fuzz, limited = modules
    from fuzz_sources import write

    made = fuzz.Fuzz(write(tmp_path), 11)
    assert {path.suffix for path in made.sources} == {".keras", ".h5", ".pt2"}
    fuzz.warm_up(made)
    import resource

    # Children begin with the address space of this process, which other tests have filled.
    own_bytes = resource.getpagesize() * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limits = replace(fuzz.LIMITS, memory_bytes=fuzz.LIMITS.memory_bytes + own_bytes)
    records = dict(limited.each(made, range(60), limits, jobs=1))
    failures = {number: record for number, record in records.items() if fuzz.is_failure(record)}
    assert not failures, failures
    assert {"imported", "ModelError"} <= {record["outcome"] for record in records.values()}
    assert {"keras field", "keras member", "pt2 field", "pt2 member", "h5 field"} <= {
        record["kind"] for record in records.values()
    }


def test_mutations_are_the_same_each_time(modules: tuple[Any, Any], sources: list[Path]) -> None:
    fuzz, _ = modules
    first, second = (fuzz.Fuzz(sources, 3) for _ in range(2))
    assert [first.damaged(k) for k in range(20)] == [second.damaged(k) for k in range(20)]
    assert len({first.damaged(k)[2] for k in range(20)}) == 20


def test_failures_are_seen(modules: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, sources: list[Path]) -> None:
    """A crash, an end of the process, too much time and too much memory count, each."""
    fuzz, limited = modules

    def explode(path: Path) -> None:
        raise IndexError(path)

    monkeypatch.setattr(fuzz.midge, "load", explode)
    assert fuzz.is_failure(fuzz.Fuzz(sources, 3)(0))

    def misbehave(number: int) -> dict[str, Any]:
        if number == 0:
            raise SystemExit(3)
        while number == 1:
            pass
        return {"outcome": "imported", "cpu": 0.1, "rss": len(bytearray(1 << 31)) and 3 << 30}

    records = dict(limited.each(misbehave, range(3), limited.Limits(1.5, 3 << 30), jobs=3))
    assert records[0]["died"] == "exit code 70"
    assert records[1]["died"] == "took longer than allowed"
    assert fuzz.is_failure(records[2])
