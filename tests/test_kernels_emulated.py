"""Kernels on the emulated cores that they are for: equal to the NumPy references.

By default every kernel of each core runs some of its cases; `pytest -m slow` runs every kernel on every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from kernel_trials import Trial, batches, trials

from midge.build import build
from midge.emulate import emulate, emulate_many
from midge.kernels import kernel_files
from midge.targets import core_board

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "rv32imc")
OPERATORS = sorted({op for op, _ in kernel_files()})
BATCH = 20
STRIDE = 5
"""Of the cases that a kernel takes, each core runs every fifth, each core others."""
PARTS = 3


def failures(core_name: str, chosen: Sequence[Trial], folder: Path) -> list[str]:
    """What differs from the references in firmwares of these trials."""
    board = core_board(core_name)
    found = []
    for number, batch in enumerate(batches(chosen, board, BATCH, "trials")):
        image = build(batch.sources, board, folder / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, board, batch.samples)):
            found += batch.compare(sample, outputs)
        # The counted run is the one that checks alignment and instructions against the core.
        found += batch.compare(0, emulate(image, batch.sources, board, batch.samples[0]).outputs)
    return found


def some_trials(core_name: str) -> list[Trial]:
    """Every fifth case of each kernel of a core, between other layers; at least one."""
    core = core_board(core_name).core
    chosen: list[Trial] = []
    for op in OPERATORS:
        by_kernel: dict[str, list[Trial]] = {}
        for trial in trials(op, core.isas, core, places=("between",)):
            by_kernel.setdefault(trial.kernel.name, []).append(trial)
        for found in by_kernel.values():
            chosen += found[CORES.index(core_name) % len(found) :: STRIDE]
    return chosen


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("core_name", CORES)
def test_kernels_equal_their_references(core_name: str, part: int, tmp_path: Path) -> None:
    found = failures(core_name, some_trials(core_name)[part::PARTS], tmp_path)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("core_name", CORES)
def test_every_kernel_on_every_case(core_name: str, op: str, tmp_path: Path) -> None:
    core = core_board(core_name).core
    found = failures(core_name, list(trials(op, core.isas, core)), tmp_path)
    assert not found, "\n".join(found)
