"""Functions that layers share where RAM or flash come first: the same results, and once in flash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kernel_trials import Batch, batches, trials

from midge.build import build
from midge.build.sizes import symbols
from midge.emulate import emulate_many
from midge.targets import core_board, find_board

BOARD = core_board("cortex-m4")
BATCH = 24
SHARED = {
    "conv2d": "conv2d_s8_split",
    "depthwise_conv2d": ("depthwise_conv2d_s8_planes", "depthwise_conv2d_s8_wide_planes"),
    "fully_connected": ("fully_connected_s8_pairs", "fully_connected_s8_bytes"),
    "copy": "copy_",
    "softmax": "softmax_s8",
}


@pytest.mark.parametrize("optimize", ["ram", "flash"])
@pytest.mark.parametrize("op", sorted(SHARED))
def test_shared_functions_are_exact(op: str, optimize: str, tmp_path: Path) -> None:
    chosen = [one for one in trials(op, ["armv7em", "portable"], BOARD.core) if one.kernel.name.startswith(SHARED[op])]
    assert len(chosen) > 8
    found = []
    for number, batch in enumerate(batches(chosen[:: 4 if optimize == "ram" else 9], BOARD, BATCH, "t", 1, optimize)):
        image = build(batch.sources, BOARD, tmp_path / str(number), optimize=optimize)
        for sample, outputs in enumerate(emulate_many(image, batch.sources, BOARD, batch.samples)):
            found += batch.compare(sample, outputs)
    assert not found, "\n".join(found)


def test_weights_that_are_held_in_ram_are_exact(tmp_path: Path) -> None:
    """Beside a layer of the same function that holds none; only a board whose flash has wait states holds any."""
    board = find_board("nucleo-l4r5zi")
    found = [one for one in trials("conv2d", ["armv7em"], board.core) if "conv2d_s8_split" in one.kernel.name]
    held = [one for one in found if "held" in one.kernel.name]
    others = [one for one in found if "bytes" in one.kernel.name]
    assert len(held) > 4
    assert not any("held" in one.kernel.name for one in trials("conv2d", ["armv7em"], BOARD.core))
    wrong = []
    for number, batch in enumerate(batches([*held, *others[::6]], board, 2 * BATCH, "t", 1, "ram")):
        assert number or any("int32_t *held" in text for text in batch.sources.files.values())
        image = build(batch.sources, board, tmp_path / str(number), optimize="ram")
        for sample, outputs in enumerate(emulate_many(image, batch.sources, board, batch.samples)):
            wrong += batch.compare(sample, outputs)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("op", "kernel", "function"), [
    ("conv2d", "conv2d_s8_split_bytes__armv7em", "conv2d_s8_shared"),
    ("depthwise_conv2d", "depthwise_conv2d_s8_planes__armv7em", "depthwise_conv2d_s8_shared"),
    ("fully_connected", "fully_connected_s8_bytes__armv7em", "fully_connected_s8_bytes__armv7em_shared"),
])  # fmt: skip
def test_layers_of_one_class_share_a_function(op: str, kernel: str, function: str, tmp_path: Path) -> None:
    """A layer more adds its constants and a call, and no kernel."""
    one = next(trial for trial in trials(op, ["armv7em"], BOARD.core, places=("alone",)) if trial.kernel.name == kernel
               and _functions(_batch([trial], "ram"), function))  # fmt: skip
    sizes = []
    for count in (1, 2):
        batch = _batch([one] * count, "ram")
        assert len(_functions(batch, function)) == 1
        image = build(batch.sources, BOARD, tmp_path / str(count), optimize="ram")
        assert sum(function in symbol.name for symbol in symbols(image.elf)) == 1
        sizes.append(image.flash.code)
    assert sizes[1] - sizes[0] < 160
    assert not _functions(_batch([one], "latency"), function)


def _batch(chosen: list, optimize: str) -> Batch:
    return next(batches(chosen, BOARD, len(chosen), "t", 1, optimize))


def _functions(batch: Batch, name: str) -> set[str]:
    """The functions of the assembly whose names contain this."""
    return set(re.findall(rf"^(\w*{name}\w*):", batch.sources.files.get("t_0.S", ""), re.MULTILINE))
