"""Bad input: one clear line on stderr, the right exit code, nothing on stdout, and no file left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import tflite
from cli_runner import DIGITS, NANO, Outcome, files_below, midge

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(64)


def refuse(status: int, said: str, *arguments: str | Path) -> Outcome:
    """Run, and check what every error has in common."""
    outcome = midge(*arguments)
    assert outcome.status == status, outcome.err
    assert outcome.out == ""
    assert outcome.err.startswith("midge: error: ")
    assert outcome.err.count("\n") == 1 and outcome.err.endswith("\n"), outcome.err
    assert "Traceback" not in outcome.err
    assert said in outcome.err
    return outcome


def model_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return path


def with_unknown_operators(content: bytes, old: tuple[int, ...], new: int) -> bytes:
    """The model with other operator codes: those in `old` become `new`."""
    data = bytearray(content)
    model = tflite.Model.GetRootAs(content, 0)
    for index in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(index)
        if code.BuiltinCode() in old:
            table = code._tab
            data[table.Pos + table.Offset(4)] = new
            data[table.Pos + table.Offset(10)] = new
    return bytes(data)


@pytest.mark.parametrize("verb", ["inspect", "compile", "run", "verify"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (Path(DIGITS).read_bytes()[:6000], "damaged"),
        (PNG, "it begins like a PNG image"),
    ],
    ids=["empty", "truncated", "png"],
)
def test_files_that_are_no_models(tmp_path: Path, verb: str, content: bytes, said: str) -> None:
    refuse(2, said, verb, model_file(tmp_path, content), *NANO, "--json")
    assert files_below(tmp_path) == ["model.tflite"]


def test_a_model_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    refuse(2, "no such file", "run", tmp_path / "absent.tflite", *NANO)
    refuse(2, "is a folder", "run", tmp_path, *NANO)


def test_all_unsupported_operators_at_once(tmp_path: Path) -> None:
    operators = tflite.BuiltinOperator
    old = (operators.FULLY_CONNECTED, operators.SOFTMAX)
    path = model_file(tmp_path, with_unknown_operators(Path(DIGITS).read_bytes(), old, operators.COS))
    outcome = refuse(4, "COS", "compile", path, *NANO, "-o", tmp_path / "out")
    assert outcome.err.count("COS") >= 2
    assert files_below(tmp_path) == ["model.tflite"]


def test_names_that_are_nearly_right() -> None:
    refuse(2, "`arduino-nano-33-ble-sense`", "run", DIGITS, "--board", "arduino-nano-33")
    refuse(2, "`cortex-m4`", "run", DIGITS, "--core", "cortex-m44")
    refuse(2, "Did you mean cmake?", "deploy", DIGITS, *NANO, "--as", "cmak", "-o", "x")


def test_targets_are_one_board_or_one_core() -> None:
    refuse(2, "both given", "run", DIGITS, *NANO, "--core", "cortex-m4")
    refuse(2, "none given", "run", DIGITS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bake",), "No such command 'bake'"),
        (("run", "--fast"), "No such option '--fast'"),
        (("run",), "Missing argument 'MODEL'"),
        (("run", DIGITS, *NANO, "--ram", "0"), "0 is not in the range"),
        (("verify", DIGITS, *NANO, "--samples", "-3"), "-3 is not in the range"),
        (("compile", DIGITS, *NANO, "--optimize", "beauty"), "'beauty' is not one of 'latency', 'ram', 'flash'"),
        (("verify", DIGITS, *NANO, "--against", "torch"), "is no .pt2 file and no module"),
        (("verify", DIGITS, *NANO, "--against", "magic"), "one of: keras, litert, numpy"),
        (("demo", "--samples", "100000"), "1 to 360"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], said: str) -> None:
    refuse(2, said, *arguments)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 7, 8, 1), np.int8), "has shape [1, 7, 8, 1]; expected [1, 8, 8, 1]"),
        (np.zeros((8, 8), np.int8), "Reshape it to [1, 8, 8, 1]"),
        (np.zeros((1, 8, 8, 1), np.float32), "is float32; expected int8 (real = "),
        (np.zeros((1, 8, 8, 1), np.uint8), "is uint8; expected int8"),
    ],
)
def test_wrong_inputs(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "x.npy", array)
    refuse(2, said, "run", DIGITS, *NANO, "--input", tmp_path / "x.npy")


def test_inputs_that_are_no_arrays(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_text("hello", encoding="utf-8")
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    refuse(2, "cannot be read as a NumPy file", "run", DIGITS, *NANO, "--input", tmp_path / "x.npy")
    refuse(2, "cannot be read as a NumPy file", "run", DIGITS, *NANO, "--input", tmp_path / "objects.npy")
    refuse(2, "0 arrays (none)", "run", DIGITS, *NANO, "--input", tmp_path / "none.npz")
    refuse(2, "no such file", "verify", DIGITS, *NANO, "--data", tmp_path / "absent.npz")


def test_output_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    refuse(2, "is a file", "compile", DIGITS, *NANO, "-o", tmp_path / "file")
    refuse(2, "is a file", "compile", DIGITS, *NANO, "-o", tmp_path / "file" / "below")
    refuse(2, "is a file", "deploy", DIGITS, *NANO, "--as", "cmake", "-o", tmp_path / "file")
    assert files_below(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_output_folders_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        refuse(2, "permission denied", "compile", DIGITS, *NANO, "-o", tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_deploy_spares_folders_with_files(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine", encoding="utf-8")
    refuse(2, "--force", "deploy", DIGITS, *NANO, "--as", "cmake", "-o", tmp_path)
    assert files_below(tmp_path) == ["precious.txt"]


def test_models_that_do_not_fit(tmp_path: Path) -> None:
    outcome = refuse(3, "more than --flash allows", "compile", DIGITS, *NANO, "--flash", "4000", "-o", tmp_path / "out")
    assert "Largest constants: " in outcome.err
    (smallest,) = re.findall(r"smallest budget that works: --flash (\d+)", outcome.err)
    assert midge("compile", DIGITS, *NANO, "--flash", smallest).status == 0
    refuse(3, f": --flash {smallest}.", "compile", DIGITS, *NANO, "--flash", str(int(smallest) - 1))
    outcome = refuse(3, "more than --ram allows", "run", DIGITS, *NANO, "--ram", "500")
    assert "Largest buffers at the peak: " in outcome.err
    assert files_below(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "rv32imc"])
@pytest.mark.parametrize("model", ["ad01_int8", "kws_ref_model", "vww_96_int8", "pretrainedResnet_quant"])
@pytest.mark.parametrize("option", ["--ram", "--flash"])
def test_the_smallest_budget_works_and_one_byte_less_does_not(option: str, model: str, core: str, mlperf_tiny: Path
                                                              ) -> None:  # fmt: skip
    command = ("compile", mlperf_tiny / f"{model}.tflite", "--core", core, option)
    (smallest,) = re.findall(rf"smallest budget that works: {option} (\d+)", refuse(3, "allows", *command, "200").err)
    assert midge(*command, smallest).status == 0
    refuse(3, f"{option} {smallest}.", *command, str(int(smallest) - 1))


def test_a_model_larger_than_the_flash(mlperf_tiny: Path, tmp_path: Path) -> None:
    outcome = refuse(3, "more than bbc-microbit-v1 has", "compile", mlperf_tiny / "ad01_int8.tflite", "--board",
                     "bbc-microbit-v1", "-o", tmp_path / "out")  # fmt: skip
    assert "262,144" in outcome.err
    assert files_below(tmp_path) == []


def test_boards_that_cannot_run_it() -> None:
    refuse(4, "esp-eye", "run", DIGITS, "--board", "esp-eye")


def test_errors_leave_no_temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    refuse(3, "--flash", "run", DIGITS, *NANO, "--flash", "5000")
    assert files_below(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_no_bug() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "midge", "boards"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "midge: error: writing: no space left on device\n")


def test_the_demo_knows_its_board_before_it_begins() -> None:
    refuse(2, "unknown", "demo", "--board", "nope")


def test_debug_adds_the_traceback() -> None:
    outcome = midge("run", "absent.tflite", *NANO, "--debug")
    assert outcome.status == 2
    assert "Traceback" in outcome.err and outcome.err.splitlines()[-1].startswith("midge: error: absent.tflite")


def test_a_bug_is_one_line_that_asks_for_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **named: object) -> None:
        raise ZeroDivisionError("an\nodd thing")

    monkeypatch.setattr("midge.pipeline.plan", broken)
    outcome = refuse(
        70, "a bug in Midge: ZeroDivisionError: an odd thing. Run it again with --debug", "run", DIGITS, *NANO
    )
    assert "report" in outcome.err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_control_c_ends_with_a_line(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "midge", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline() == "compiling …\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == "" and err.splitlines()[-1] == "midge: interrupted" and "Traceback" not in err
    assert files_below(tmp_path) == []


def test_a_board_that_is_too_small_says_what_would_help(mlperf_tiny: Path, tmp_path: Path) -> None:
    outcome = refuse(3, "more than bbc-microbit-v1 has", "compile", mlperf_tiny / "vww_96_int8.tflite", "--board",
                     "bbc-microbit-v1", "-o", tmp_path / "out")  # fmt: skip
    assert "vww_96_int8: activations alone" in outcome.err and "Use --optimize ram" in outcome.err
