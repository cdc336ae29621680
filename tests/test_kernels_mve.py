"""Helium kernels on QEMU's Cortex-M55: equal to the NumPy references, with few instructions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from cli_runner import midge
from kernel_trials import Trial, batches, trials

from midge.build import build
from midge.emulate import emulate_many, qemu
from midge.kernels import kernel_files, requantize_mve
from midge.kernels.depthwise_conv2d import gathers_mve, lanes_mve
from midge.targets import core_board

pytestmark = pytest.mark.skipif(shutil.which(qemu.COMMAND) is None, reason="qemu-system-arm is not installed")
needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")

BOARD = core_board("cortex-m55")
OPERATORS = sorted({op for op, isa in kernel_files() if isa == "mve"})
BATCH = 40
STRIDE = 3
LIMITS = {
    "kws_ref_model": (900_000, 1_030_000, 105_000),
    "pretrainedResnet_quant": (2_400_000, 2_690_000, 146_000),
    "vww_96_int8": (2_000_000, 2_060_000, 378_000),
    "ad01_int8": (75_000, 47_500, 298_000),
}
"""Instructions; cycles, a per cent above what they are; the flash of TensorFlow Lite Micro with CMSIS-NN in bytes."""


def failures(chosen: Sequence[Trial], folder: Path, cc: Literal["zig", "gcc"] = "zig") -> list[str]:
    """What differs from the references in firmwares of these trials."""
    found = []
    for number, batch in enumerate(batches(chosen, BOARD, BATCH, "trials", samples=3)):
        image = build(batch.sources, BOARD, folder / str(number), cc=cc)
        results = emulate_many(image, batch.sources, BOARD, batch.samples, backend="qemu")
        for sample, outputs in enumerate(results):
            found += batch.compare(sample, outputs)
    return found


def of_mve(op: str, places: Sequence[str] = ("between",)) -> list[Trial]:
    return list(trials(op, ("mve",), BOARD.core, places))


@pytest.mark.parametrize("op", OPERATORS)
def test_kernels_equal_their_references(op: str, tmp_path: Path) -> None:
    found = failures(of_mve(op)[::STRIDE], tmp_path)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("cc", ["zig", pytest.param("gcc", marks=needs_gcc)])
@pytest.mark.parametrize("op", OPERATORS)
def test_every_kernel_on_every_case(op: str, cc: Literal["zig", "gcc"], tmp_path: Path) -> None:
    found = failures(of_mve(op, ("alone", "between")), tmp_path, cc)
    assert not found, "\n".join(found)


def test_the_reference_itself_where_nothing_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All kernels with the reference's double rounding, and with sums that lack their bias."""
    monkeypatch.setattr(requantize_mve, "_FORMS", type(requantize_mve._FORMS)())
    monkeypatch.setattr(requantize_mve, "prove", lambda *_, **__: None)
    chosen = of_mve("conv2d")[::STRIDE] + of_mve("depthwise_conv2d")[::STRIDE]
    found = failures(chosen, tmp_path)
    assert len(chosen) > 10
    assert not found, "\n".join(found)


def test_rows_that_lie_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gathering load reaches 255 bytes; a ring of rows may be higher than that."""
    places_of = gathers_mve.places_of

    def staged(*args: Any, **names: Any) -> gathers_mve.Places:
        return replace(places_of(*args, **names), is_staged=True)

    monkeypatch.setattr(gathers_mve, "places_of", staged)
    chosen = [trial for trial in of_mve("depthwise_conv2d") if "gathers" in trial.kernel.name]
    found = failures(chosen, tmp_path)
    assert len(chosen) > 3
    assert not found, "\n".join(found)


def test_products_of_16_bits_never_overflow() -> None:
    """Taps are added in 16 bits only where no inputs make them leave these."""
    magnitudes = np.array([[127, 1], [127, 1], [1, 1], [128, 0], [128, 2], [0, 0], [3, 255], [0, 0]])
    groups = lanes_mve._groups(magnitudes)
    assert groups == (3, 1, 2, 2)
    first = 0
    for count in groups:
        assert magnitudes[first : first + count].sum(0).max() * 128 < 2**15
        first += count


@pytest.mark.parametrize("model", LIMITS)
def test_instructions_of_the_reference_models(mlperf_tiny: Path, model: str) -> None:
    instructions, cycles, flash_bytes = LIMITS[model]
    path, target = mlperf_tiny / f"{model}.tflite", ("--core", "cortex-m55", "--json")
    found = midge("run", path, *target).object
    assert (found["backend"], "LLVM's scheduling model" in found["timing_note"]) == ("qemu", True)
    assert found["cycles"] == sum(layer["cycles"] for layer in found["layers"]) <= cycles
    assert sum(layer["instructions"] for layer in found["layers"]) == found["instructions"] <= instructions
    assert found["flash_bytes"]["total"] <= flash_bytes
    verified = midge("verify", path, *target, "--samples", "5").object
    assert (verified["backend"], verified["samples"], verified["mismatches"]) == ("qemu", 5, 0)
