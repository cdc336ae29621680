"""Every portable kernel on every case, compiled for this machine: equal to the NumPy references, clean, no undefined
behaviour."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from host_program import WARNINGS, ZIG, run_on_host, write_program
from kernel_trials import batches, portable, trials

from midge.build.firmware import HARNESS
from midge.kernels import kernel_files
from midge.ops import CASES
from midge.targets import core_board

BOARD = portable(core_board("cortex-m0plus"))
BATCH = 24
OPERATORS = sorted(op for op, isa in kernel_files() if isa == "portable")


@pytest.mark.parametrize("op", OPERATORS)
def test_kernels_equal_their_references(op: str, tmp_path: Path) -> None:
    failures = []
    for batch in batches(list(trials(op, ("portable",), BOARD.core)), BOARD, BATCH, op):
        for sample, outputs in enumerate(run_on_host(batch.sources, batch.samples, tmp_path)):
            failures += batch.compare(sample, outputs)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("op", OPERATORS)
def test_kernels_compile_without_warnings(op: str, tmp_path: Path) -> None:
    """By clang for an Arm core too; the host's compiler has been asked above."""
    chosen = list(trials(op, ("portable",), BOARD.core, places=("alone",)))
    files = []
    for batch in batches(chosen, BOARD, len(chosen), op):
        files += [name for name in write_program(batch.sources, tmp_path) if not name.endswith("_main.c")]
    target = ("-target", BOARD.core.zig_target, f"-mcpu={BOARD.core.zig_cpu}", "-isystem", str(HARNESS / "include"))
    command = [*ZIG, *target, "-std=c99", "-O2", *WARNINGS, "-c", *files]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[:4000]


@pytest.mark.parametrize("op", OPERATORS)
def test_every_kernel_takes_a_case(op: str) -> None:
    used = {trial.kernel.name for trial in trials(op, ("portable",), BOARD.core, places=("alone",))}
    assert used == {kernel.name for kernel in kernel_files()[op, "portable"]}


def test_every_case_has_a_portable_kernel() -> None:
    missing = []
    for op, cases in CASES.items():
        served = {trial.name.split()[1] for trial in trials(op, ("portable",), BOARD.core, places=("alone",))}
        missing += [f"{op} {case.name}" for case in cases if case.name not in served and op != "reshape"]
    assert not missing
