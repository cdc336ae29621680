"""The main job on the five MLPerf Tiny models: exact firmware on each kind of board, against LiteRT."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from cli_runner import midge

INTEGER = ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8", "str_ww_ref_model")
FLOAT = ("kws_ref_model_float32", "pretrainedResnet", "vww_96_float", "ad01_fp32")
TARGETS = (("--board", "arduino-nano-33-ble-sense"), ("--board", "raspberry-pi-pico"), ("--core", "cortex-m3"),
           ("--board", "esp32-c3-devkitm-1"))  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[1])
@pytest.mark.parametrize("model", INTEGER)
def test_integer_models_are_bit_exact(mlperf_tiny: Path, model: str, target: tuple[str, str]) -> None:
    pytest.importorskip("ai_edge_litert")
    outcome = midge(
        "verify", mlperf_tiny / f"{model}.tflite", *target, "--samples", "20", "--against", "litert", "--json"
    )
    assert outcome.status == 0, outcome.err
    found = outcome.object
    assert (found["samples"], found["mismatches"], found["max_abs_diff"]) == (20, 0, 0)


@pytest.mark.parametrize("model", FLOAT)
def test_float_models_are_within_tolerance(mlperf_tiny: Path, model: str) -> None:
    pytest.importorskip("ai_edge_litert")
    outcome = midge("verify", mlperf_tiny / f"{model}.tflite", "--core", "cortex-m4", "--samples", "3", "--against",
                    "litert", "--json")  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert outcome.object["max_rel_diff"] <= 1e-5


def test_cycles_and_flash_on_risc_v(mlperf_tiny: Path) -> None:
    """A Cortex-M0+ takes 9.0 and 0.95 million. Within what speed may take, all layers of the first are packed."""
    for model, most, most_flash in (("kws_ref_model", 6_600_000, 90_000), ("ad01_int8", 870_000, 300_000)):
        found = midge("run", mlperf_tiny / f"{model}.tflite", "--core", "rv32imc", "--json").object
        assert found["cycles"] <= most and found["flash_bytes"]["total"] <= most_flash


def test_cycles_behind_a_slow_flash(mlperf_tiny: Path) -> None:
    """Weights that are read once, with 0.8 cycles of waiting for each: 0.211 of these are waits."""
    found = midge("run", mlperf_tiny / "ad01_int8.tflite", "--board", "nucleo-l4r5zi", "--json").object
    assert found["cycles"] <= 535_000


def test_flash_is_not_over_an_interpreters(mlperf_tiny: Path, shared: Path) -> None:
    """For speed alone no more is taken than by TensorFlow Lite Micro with CMSIS-NN, code and model file."""
    peers = json.loads((shared / "peers.json").read_text(encoding="utf-8"))["measured"]
    least = min(
        peer["flash_bytes"] + peer["model_bytes"]
        for peer in peers
        if (peer["peer"], peer["core"], peer["model"]) == ("tflite-micro + cmsis-nn", "cortex-m4", "ad01_int8")
    )
    found = midge("compile", mlperf_tiny / "ad01_int8.tflite", "--core", "cortex-m4", "--optimize", "latency", "--json")
    assert 0 < found.object["flash_bytes"]["total"] <= least


def test_tflm_numerics_give_the_bits_of_tflm(mlperf_tiny: Path, shared: Path) -> None:
    found = midge("run", mlperf_tiny / "ad01_int8.tflite", "--board", "arduino-nano-33-ble-sense", "--numerics", "tflm",
                  "--json").object  # fmt: skip
    digest = hashlib.sha256(np.array(found["outputs"][0], np.int8).tobytes()).hexdigest()
    peers = json.loads((shared / "peers.json").read_text(encoding="utf-8"))
    assert digest in json.dumps(peers)


def test_from_model_to_answer_in_ten_seconds(mlperf_tiny: Path) -> None:
    for model in INTEGER:
        start = time.monotonic()
        assert (
            midge("run", mlperf_tiny / f"{model}.tflite", "--board", "arduino-nano-33-ble-sense", "--json").status == 0
        )
        assert time.monotonic() - start < 10, model
