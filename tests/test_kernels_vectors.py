"""The kernels for this computer, for each kind of processor that they know: equal to the NumPy references."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest
from host_program import WARNINGS, ZIG, host_compiler, run_on_host, write_program
from kernel_trials import PLACES, Batch, batches, trials

from midge.build.zig import host_processor
from midge.kernels import kernel_files
from midge.targets.host import host_board

BOARD = host_board()
OPERATORS = sorted(op for op, isa in kernel_files() if isa == "host")
BATCH = 30
FORMS = {
    "least": ((), ""),
    "no vectors": (("-U__SSE2__", "-U__ARM_FEATURE_DOTPROD"), ""),
    "AVX2": (("-mavx2",), ".avx2,"),
    "AVX-VNNI": (("-mavx2", "-mavxvnni"), ".avxvnni,"),
    "AVX-512 VNNI": (("-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"), ".avx512vnni,"),
    "dot products": (("-march=armv8.2-a+dotprod",), ".dotprod,"),
}
"""What the compiler may use, and the feature that this processor must have to run it, as zig names it. Without flags:
what every processor of the architecture has."""
TARGETS = {
    "x86_64-linux-gnu": ("x86_64", "x86_64_v3", "x86_64_v4", "alderlake", "znver5"),
    "x86_64-windows-gnu": ("x86_64_v3",),
    "x86_64-macos": ("x86_64",),
    "aarch64-linux-gnu": ("generic", "neoverse_n1"),
    "aarch64-macos": ("apple_m1",),
    "aarch64-windows-gnu": ("generic",),
}


@cache
def some_batches(op: str, part: int) -> list[Batch]:
    """Every second case, alone or between other layers in turn; other cases for the other `part`."""
    alone, between = (list(trials(op, ("host",), BOARD.core, places=(place,))) for place in PLACES)
    chosen = [pair[index // 2 % 2] for index, pair in enumerate(zip(alone, between, strict=True))]
    return list(batches(chosen[part::2], BOARD, BATCH, op))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("op", OPERATORS)
def test_kernels_equal_their_references(op: str, form: str, tmp_path: Path) -> None:
    flags, feature = FORMS[form]
    if feature not in host_processor():
        pytest.skip("this processor has none")
    if flags and host_compiler().command == ZIG:
        pytest.skip("zig takes these flags otherwise")
    failures = []
    for batch in some_batches(op, list(FORMS).index(form) % 2):
        for sample, outputs in enumerate(run_on_host(batch.sources, batch.samples, tmp_path, flags)):
            failures += batch.compare(sample, outputs)
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("op", OPERATORS)
def test_every_kernel_takes_a_case(op: str) -> None:
    used = {trial.kernel.name for trial in trials(op, ("host",), BOARD.core, places=("alone",))}
    assert used == {kernel.name for kernel in kernel_files()[op, "host"]}


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_for_other_computers(target: str, tmp_path: Path) -> None:
    chosen = [trial for op in OPERATORS for trial in trials(op, ("host",), BOARD.core, places=("alone",))][::7]
    (batch,) = batches(chosen, BOARD, len(chosen), "all")
    files = [name for name in write_program(batch.sources, tmp_path) if not name.endswith("_main.c")]
    for cpu in TARGETS[target]:
        command = [*ZIG, "-target", target, f"-mcpu={cpu}", "-std=c99", "-O2", *WARNINGS, "-c", *files]
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, f"{cpu}: {made.stderr[:4000]}"
