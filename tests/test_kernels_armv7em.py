"""Kernels for the DSP extension on a board whose flash has wait states, where other variants are chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernel_trials import batches, trials

from midge.build import build
from midge.emulate import emulate, emulate_many
from midge.targets import find_board

BOARD = find_board("nucleo-l4r5zi")
BATCH, STRIDE = 24, 3


@pytest.mark.parametrize("part", range(STRIDE))
def test_convolutions_behind_a_slow_flash(part: int, tmp_path: Path) -> None:
    chosen = list(trials("conv2d", ["armv7em"], BOARD.core, places=("between",)))[part::STRIDE]
    assert {trial.kernel.name.removesuffix("__armv7em") for trial in chosen} >= {
        "conv2d_s8_wide", "conv2d_s8_wide_held_to_wide", "conv2d_s8_wide_to_planes", "conv2d_s8_wide_held"
    }  # fmt: skip
    found = []
    for number, batch in enumerate(batches(chosen, BOARD, BATCH, "trials")):
        image = build(batch.sources, BOARD, tmp_path / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, BOARD, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, BOARD, batch.samples[0]).outputs)
    assert not found, "\n".join(found)
