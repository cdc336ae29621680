"""Helium kernels on QEMU's Cortex-M55: equal to the NumPy references, with few instructions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from kernel_trials import Trial, batches, trials

from midge.build import build
from midge.emulate import emulate_many, qemu
from midge.kernels import kernel_files
from midge.targets import core_board

pytestmark = pytest.mark.skipif(shutil.which(qemu.COMMAND) is None, reason="qemu-system-arm is not installed")
needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")

BOARD = core_board("cortex-m55")
OPERATORS = sorted({op for op, isa in kernel_files() if isa == "mve"})
BATCH = 40


def failures(chosen: Sequence[Trial], folder: Path, cc: Literal["zig", "gcc"] = "zig") -> list[str]:
    """What differs from the references in firmwares of these trials."""
    found = []
    for number, batch in enumerate(batches(chosen, BOARD, BATCH, "trials", samples=3)):
        image = build(batch.sources, BOARD, folder / str(number), cc=cc)
        results = emulate_many(image, batch.sources, BOARD, batch.samples, backend="qemu")
        for sample, outputs in enumerate(results):
            found += batch.compare(sample, outputs)
    return found


@pytest.mark.parametrize("op", OPERATORS)
def test_kernels_equal_their_references(op: str, tmp_path: Path) -> None:
    found = failures(list(trials(op, ("mve",), BOARD.core)), tmp_path)
    assert not found, "\n".join(found)
