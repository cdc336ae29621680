"""Deployed projects: complete, buildable by others' tools, and checked by running them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runner import DIGITS, NANO, files_below, midge

import midge as api
from midge import demo
from midge.build.firmware import build
from midge.deploy import Recorded, kinds, project
from midge.emulate.host import Host
from midge.emulate.machine import Machine
from midge.emulate.program import load
from midge.errors import MismatchError
from midge.targets import find_board

BOARD = "arduino-nano-33-ble-sense"
CMAKE = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")


@pytest.fixture(scope="module")
def cmake_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy with spaces") / "digits"
    outcome = midge("deploy", DIGITS, *NANO, "--as", "cmake", "-o", folder, "--json")
    assert outcome.status == 0, outcome.err
    found = outcome.object
    assert found["files"] == [name for name in files_below(folder) if (folder / name).is_file()]
    assert found["checks"][-1] == f"self-test passed on emulated board {BOARD}, 3 recorded inputs"
    return folder


@pytest.fixture(scope="module")
def arduino_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arduino") / "Digits_model"
    outcome = midge("deploy", DIGITS, *NANO, "--as", "arduino", "-o", folder, "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.object["checks"][-1] == f"self-test passed on emulated board {BOARD}, 3 recorded inputs"
    return folder


def cmake(folder: Path, build_folder: str, *arguments: str) -> None:
    for command in (
        ["-S", str(folder), "-B", str(folder / build_folder), *arguments],
        ["--build", str(folder / build_folder)],
    ):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr


def run_firmware(elf: Path) -> str:
    host = Host("selftest")
    machine = Machine(find_board(BOARD), load(elf), host)
    machine.load()
    machine.run(timeout_seconds=60)
    assert host.exit_failed is False
    return host.text


def test_kinds_are_the_folders() -> None:
    assert kinds() == ("arduino", "cmake")


@CMAKE
@pytest.mark.skipif(sys.platform == "win32", reason="the host compiler there is MSVC")
def test_cmake_self_test_on_this_computer(cmake_project: Path) -> None:
    cmake(cmake_project, "build")
    command = ["ctest", "--test-dir", str(cmake_project / "build"), "--verbose"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "self-test passed" in done.stdout


@CMAKE
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc")
@pytest.mark.skipif(sys.platform == "win32", reason="needs a generator for cross compiling")
def test_cmake_firmware_by_gcc_runs_on_the_board(cmake_project: Path) -> None:
    cmake(cmake_project, "build-gcc", "--toolchain", "cmake/arm-none-eabi.cmake")
    assert run_firmware(cmake_project / "build-gcc" / "digits_selftest.elf").endswith("self-test passed\n")


@CMAKE
@pytest.mark.skipif(sys.platform == "win32", reason="needs a generator for cross compiling")
def test_cmake_firmware_by_zig_runs_on_the_board(cmake_project: Path) -> None:
    cmake(cmake_project, "build-zig", "--toolchain", "cmake/zig.cmake", f"-DPYTHON={sys.executable}")
    assert run_firmware(cmake_project / "build-zig" / "digits_selftest.elf").endswith("self-test passed\n")


@CMAKE
@pytest.mark.skipif(sys.platform == "win32", reason="the host compiler there is MSVC")
def test_cmake_self_test_finds_a_wrong_value(cmake_project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    shutil.copytree(cmake_project, folder, ignore=shutil.ignore_patterns("build*"))
    recorded = folder / "example" / "recorded.h"
    text = recorded.read_text(encoding="utf-8")
    head, outputs = text.split("digits_recorded_output_0")
    wrong = re.sub(r"-?\d+,", lambda match: "5," if match[0] != "5," else "6,", outputs.split("{", 2)[2], count=1)
    recorded.write_text(f"{head}digits_recorded_output_0[3][10] = {{\n    {{{wrong}", encoding="utf-8")
    cmake(folder, "build")
    done = subprocess.run([str(folder / "build" / "digits_selftest")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("sample 0: 1 values differ\n") and done.stdout.endswith("self-test FAILED\n")


@pytest.mark.parametrize("kind", ["cmake", "arduino"])
def test_projects_state_where_they_come_from(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue("cmake_project" if kind == "cmake" else "arduino_library")
    text = (folder / "README.md").read_text(encoding="utf-8")
    program = api.compile(demo.digits_model(), board=BOARD)
    for fact in (api.__version__, f"midge compile digits.tflite --board {BOARD}", program.model.sha256,
                 f"{program.model.graph.total_macs:,}", f"{program.compiled.image.flash.total:,}",
                 f"{program.ram.total:,}"):  # fmt: skip
        assert fact in text
    assert "Apache" in (folder / "LICENSE").read_text(encoding="utf-8")


def test_arduino_layout(arduino_library: Path) -> None:
    properties = dict(
        line.split("=", 1) for line in (arduino_library / "library.properties").read_text(encoding="utf-8").splitlines()
    )
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url", "architectures"}
    assert required <= set(properties) and all(properties[name] for name in required)
    assert re.fullmatch(r"[A-Za-z0-9][\w .-]{0,62}", properties["name"])
    assert (arduino_library / "src" / properties["includes"]).is_file()
    files = files_below(arduino_library)
    for name in (
        "README.md",
        "LICENSE",
        "keywords.txt",
        "src/digits.c",
        "src/digits.h",
        "examples/SelfTest/SelfTest.ino",
    ):
        assert name in files
    for line in (arduino_library / "keywords.txt").read_text(encoding="utf-8").splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"\w+\t(KEYWORD2|LITERAL1)", line)


def test_recorded_samples_may_be_real_ones(tmp_path: Path) -> None:
    images, _ = demo.digits_samples()
    np.savez(tmp_path / "digits.npz", x=images[:5])
    outcome = midge("deploy", DIGITS, *NANO, "--as", "arduino", "-o", tmp_path / "out", "--samples", "2", "--data",
                    tmp_path / "digits.npz", "--json")  # fmt: skip
    assert outcome.status == 0 and outcome.object["samples"] == 2
    text = (tmp_path / "out" / "examples" / "SelfTest" / "recorded.h").read_text(encoding="utf-8")
    assert "2 recorded inputs (digits.npz)" in text
    assert ", ".join(str(value) for value in images[0].ravel()[:16]) in text


def test_a_self_test_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = api.compile(demo.digits_model(), board=BOARD)
    monkeypatch.setattr(project, "run_graph", lambda graph, sample: (np.full((1, 10), 5, np.int8),))
    with pytest.raises(MismatchError, match="values differ"):
        program.deploy("cmake", tmp_path / "out")
    assert files_below(tmp_path) == []


def test_boards_get_only_their_own_kinds(tmp_path: Path) -> None:
    outcome = midge("deploy", DIGITS, "--core", "cortex-m4", "--as", "arduino", "-o", tmp_path / "out")
    assert outcome.status == 4 and "one of: cmake" in outcome.err
    assert files_below(tmp_path) == []


def test_no_more_samples_than_the_flash_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "run_graph", lambda graph, sample: (np.zeros((1, 10), np.int8),))
    program = api.compile(demo.digits_model(), board="bbc-microbit-v1")
    sample = (np.zeros((1, 8, 8, 1), np.int8),)
    made = project.make_project(program.compiled, Recorded([sample] * 9999, "zeros"))
    taken = len(made.inputs) * (64 + 10) + program.compiled.image.flash.total + project.SELFTEST_BYTES
    assert 0 < len(made.inputs) < 9999 and taken <= program.board.flash.bytes < taken + 64 + 10


def test_float_networks_deploy_too(mlperf_tiny: Path, tmp_path: Path) -> None:
    outcome = midge("deploy", mlperf_tiny / "ad01_fp32.tflite", "--core", "cortex-m4", "--as", "cmake", "-o",
                    tmp_path / "out", "--json")  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert "self-test passed" in outcome.object["checks"][-1]


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc")
def test_deploy_by_gcc(tmp_path: Path) -> None:
    outcome = midge("deploy", DIGITS, *NANO, "--as", "arduino", "-o", tmp_path / "out", "--cc", "gcc", "--json")
    assert outcome.status == 0, outcome.err
    assert "arm-none-eabi-gcc" in outcome.object["checks"][0]


def test_portable_sources_are_the_same_network(cmake_project: Path, tmp_path: Path) -> None:
    program = api.compile(demo.digits_model(), board=BOARD)
    made = project.make_project(program.compiled, Recorded([], "none"))
    assert made.portable is not None
    assert dict(made.portable.files) == {
        name: (cmake_project / "src" / "portable" / name).read_text(encoding="utf-8") for name in made.portable.files
    }
    image = build(made.portable, program.board, tmp_path)
    assert image.elf.is_file()
