"""The verbs, run for real: one JSON object and nothing else, figures that add up, files where they belong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runner import DIGITS, NANO, files_below, midge

RUN_FIELDS = ["model", "board", "core", "clock_hz", "macs", "instructions", "cycles", "latency_ms", "energy_uj",
              "ram_bytes", "flash_bytes", "outputs", "layers"]  # fmt: skip


def test_run_prints_the_object_of_the_design() -> None:
    outcome = midge("run", DIGITS, *NANO, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = outcome.object
    assert list(found)[: len(RUN_FIELDS)] == RUN_FIELDS
    assert found["model"] == "digits.tflite" and found["core"] == "cortex-m4" and found["clock_hz"] == 64_000_000
    assert found["instructions"] == sum(layer["instructions"] for layer in found["layers"]) > 0
    assert found["cycles"] == sum(layer["cycles"] for layer in found["layers"]) > found["instructions"] // 2
    assert found["latency_ms"] == pytest.approx(found["cycles"] / 64e3)
    assert found["energy_uj"] == pytest.approx(found["latency_ms"] * 3.3 * 3.0)
    ram, flash = found["ram_bytes"], found["flash_bytes"]
    assert ram["total"] == ram["activations"] + ram["static"] + ram["stack"] and ram["stack"] > 0
    assert flash["total"] == flash["weights"] + flash["code"] and flash["code"] > 0
    assert found["arena"]["bytes"] == ram["activations"] >= found["arena"]["lower_bound_bytes"]
    assert len(found["outputs"]) == 1 and len(found["outputs"][0]) == 10


def test_two_runs_are_equal() -> None:
    assert midge("run", DIGITS, *NANO, "--json").out == midge("run", DIGITS, *NANO, "--json").out


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="no qemu-system-arm")
def test_qemu_counts_the_same_instructions() -> None:
    ours = midge("run", DIGITS, "--core", "cortex-m4", "--json").object
    theirs = midge("run", DIGITS, "--core", "cortex-m4", "--backend", "qemu", "--json").object
    assert theirs["backend"] == "qemu"
    assert theirs["instructions"] == ours["instructions"] and theirs["outputs"] == ours["outputs"]


def test_run_takes_inputs_of_both_file_forms(tmp_path: Path) -> None:
    x = np.full((1, 8, 8, 1), -128, np.int8)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", anything=x)
    one = midge("run", DIGITS, *NANO, "--json", "--input", tmp_path / "x.npy").object
    other = midge("run", DIGITS, *NANO, "--json", "--input", tmp_path / "x.npz").object
    assert one["outputs"] == other["outputs"] != midge("run", DIGITS, *NANO, "--json").object["outputs"]


def test_a_core_states_no_energy_and_says_why() -> None:
    found = midge("run", DIGITS, "--core", "cortex-m3", "--json").object
    assert found["board"] == found["core"] == "cortex-m3"
    assert found["energy_uj"] is None and "states no run current" in found["energy_note"]


def test_compile_leaves_firmware_and_sources(tmp_path: Path) -> None:
    outcome = midge("compile", DIGITS, *NANO, "-o", tmp_path / "new" / "out", "--json")
    assert outcome.status == 0
    found, files = outcome.object, files_below(tmp_path / "new" / "out")
    assert {"digits.c", "digits.h", "firmware.elf", "report.json"} <= set(files)
    assert set(found["files"]) <= set(files) and found["directory"] == str(tmp_path / "new" / "out")
    assert found["ram_bytes"]["stack"] is None
    report = json.loads((tmp_path / "new" / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["flash_bytes"] == found["flash_bytes"]
    header = (tmp_path / "new" / "out" / "digits.h").read_text(encoding="utf-8")
    assert "midge compile digits.tflite --board arduino-nano-33-ble-sense" in header
    assert report["model_sha256"] in header
    assert [path for path in files_below(tmp_path) if path.startswith(".midge")] == []


def test_compile_again_replaces_its_files_and_spares_others(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert midge("compile", DIGITS, *NANO, "-o", tmp_path).status == 0
    first = (tmp_path / "digits.c").read_bytes()
    assert midge("compile", DIGITS, *NANO, "-o", tmp_path).status == 0
    assert (tmp_path / "digits.c").read_bytes() == first
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_verify_against_numpy() -> None:
    outcome = midge("verify", DIGITS, "--board", "raspberry-pi-pico", "--samples", "5", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = outcome.object
    assert (found["samples"], found["values"], found["mismatches"], found["max_abs_diff"]) == (5, 50, 0, 0)
    assert found["reference"] == "numpy" and found["first_mismatch"] is None


def test_verify_against_litert_keeps_stdout_pure() -> None:
    pytest.importorskip("ai_edge_litert")
    # A process of its own: LiteRT writes to the file descriptors, behind Python's back.
    command = [
        sys.executable,
        "-m",
        "midge",
        "verify",
        DIGITS,
        *NANO,
        "--samples",
        "3",
        "--against",
        "litert",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["reference"] == "litert" and found["mismatches"] == 0 and found["values"] == 30


def test_verify_takes_samples_from_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", labels=np.arange(4), x=np.zeros((4, 8, 8, 1), np.int8))
    found = midge("verify", DIGITS, *NANO, "--data", tmp_path / "d.npz", "--json").object
    assert (found["samples"], found["mismatches"], found["data"]) == (4, 0, "d.npz")


def test_verify_fails_where_values_differ(mlperf_tiny: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    outcome = midge("verify", mlperf_tiny / "ad01_int8.tflite", *NANO, "--numerics", "tflm", "--against", "litert",
                    "--samples", "2", "--json")  # fmt: skip
    assert outcome.status == 1
    found = outcome.object
    assert found["mismatches"] > 0 and found["max_abs_diff"] in (1, 2)
    first = found["first_mismatch"]
    assert first["layer"].startswith("fully_connected") and first["firmware"] != first["reference"]
    assert "DIFFERENT" in midge("verify", mlperf_tiny / "ad01_int8.tflite", *NANO, "--numerics", "tflm", "--against",
                                "litert", "--samples", "2").out  # fmt: skip


def test_boards_lists_limits() -> None:
    listed = midge("boards", "--json").object
    assert isinstance(listed, list) and len(listed) >= 10
    for board in listed:
        assert {"name", "mcu", "core", "clock_hz", "flash_bytes", "ram_bytes", "emulated"} <= set(board)
    (one,) = midge("boards", "raspberry-pi-pico", "--json").object
    assert one["mcu"] == "RP2040"
    assert "RP2040" in midge("boards", "raspberry-pi-pico").out


def test_inspect_says_where_it_fits() -> None:
    outcome = midge("inspect", DIGITS, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = outcome.object
    assert found["macs"] == sum(layer["macs"] for layer in found["layers"]) > 0
    assert found["inputs"][0]["quantization"]["zero_points"] == [-128]
    assert all(board["fits"] for board in found["boards"])
    text = midge("inspect", DIGITS).out
    assert "real = " in text and "midge run " in text and "digits.tflite --board" in text


def test_inspect_of_a_model_that_fits_nowhere_sorts_by_how_close_it_comes(mlperf_tiny: Path) -> None:
    model = mlperf_tiny / "pretrainedResnet.tflite"
    found = midge("inspect", model, "--board", "bbc-microbit-v1", "--json").object["boards"][0]
    assert not found["fits"]
    assert found["ram_short_bytes"] == found["ram_needed_bytes"] - found["ram_available_bytes"] > 0
    assert found["flash_short_bytes"] == found["flash_estimate_bytes"] - found["flash_available_bytes"] > 0
    assert found["ratio"] == pytest.approx(found["ram_needed_bytes"] / found["ram_available_bytes"])
    everywhere = midge("inspect", model, "--json").object["boards"]
    lacking = [board["ratio"] for board in everywhere if not board["fits"]]
    assert len(lacking) >= 1 and lacking == sorted(lacking)
    useful = [board["fits"] and board["emulated"] != "planned" for board in everywhere]
    assert useful == sorted(useful, reverse=True)
    text = midge("inspect", model, "--board", "bbc-microbit-v1").out
    assert "lacks" in text and "It fits none of these" in text and "--core" in text


def test_the_estimates_of_inspect_are_not_below_the_truth() -> None:
    (board,) = midge("inspect", DIGITS, *NANO, "--json").object["boards"]
    measured = midge("run", DIGITS, *NANO, "--json").object
    assert board["ram_activations_bytes"] == measured["ram_bytes"]["activations"]
    assert board["ram_needed_bytes"] >= measured["ram_bytes"]["total"]
    assert measured["flash_bytes"]["total"] <= board["flash_estimate_bytes"] * 1.3


def test_demo_in_json() -> None:
    outcome = midge("demo", "--samples", "20", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = outcome.object
    assert (found["samples"], found["mismatches"], found["values"]) == (20, 0, 200)
    assert found["accuracy"] == found["correct"] / 20 > 0.8
    assert "bbc-microbit-v1" in found["fits"]
    power = found["energy_uj"] / found["latency_ms"] / 3.0
    active = found["latency_ms"] / 1000
    battery = found["battery"]
    assert battery["mean_milliamps"] == pytest.approx(active * power + (1 - active) * 3.16e-3)
    assert battery["days"] == pytest.approx(225 / battery["mean_milliamps"] / 24)


def test_demo_for_people() -> None:
    outcome = midge("demo", "--samples", "12")
    assert outcome.status == 0
    assert "it is a " in outcome.out and "bit by bit" in outcome.out and "@@" in outcome.out
    assert outcome.err.splitlines()[0] == "compiling …"


def test_help_names_all_verbs_and_exit_codes() -> None:
    text = midge("--help").out
    for verb in ("demo", "boards", "inspect", "compile", "run", "verify", "deploy"):
        assert f"\n  {verb} " in text
        assert midge(verb, "--help").status == 0
    assert "does not fit" in text


def test_no_verb_prints_help() -> None:
    outcome = midge()
    assert outcome.status == 2 and "Usage: midge" in outcome.err and outcome.out == ""


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} -m midge boards --json | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_output_survives_a_narrow_encoding() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-m", "midge", "inspect", DIGITS, *NANO], capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
