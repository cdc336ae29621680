"""Profiles of firmware by function."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_network

from midge.build import build
from midge.emulate import emulate
from midge.emulate.profile import profile
from midge.errors import ToolError
from midge.targets import core_board, find_board


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_second_run_alone_is_the_counted_inference(core: str, tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board(core)
    image = build(sources, board, tmp_path)
    found = profile(image.elf, board, "fw 2", "fw 1")
    trace = emulate(image, sources, board)
    counts = {function.name: (function.instructions, function.cycles) for function in found.functions}
    dot, _, schedule = trace.layers
    assert counts["tiny_layer_0"] == (dot.instructions, dot.cycles)
    assert counts["tiny_run"] == (schedule.instructions, schedule.cycles)
    assert [f.cycles for f in found.functions] == sorted((f.cycles for f in found.functions), reverse=True)
    assert found.printed.startswith("output 0: ")


def test_firmware_of_a_bare_core_with_the_memory_of_a_board(tmp_path: Path) -> None:
    """It runs at its own addresses; the board's caches stand before the flash at 0."""
    image = build(tiny_network.sources(), core_board("cortex-m4"), tmp_path)
    bare = profile(image.elf, core_board("cortex-m4"), "fw")
    cached = profile(image.elf, find_board("nucleo-l4r5zi"), "fw")
    assert cached.instructions == bare.instructions
    assert cached.cycles > bare.cycles


def test_errors_name_the_function(tmp_path: Path) -> None:
    head = "static void tiny_layer_1(int step)\n{\n"
    text = tiny_network.text().replace(head, f"{head}    *(volatile int *)0x40000000 = step;\n")
    image = build(tiny_network.sources(text), core_board("cortex-m4"), tmp_path)
    with pytest.raises(ToolError, match=r"firmware.elf, function `tiny_layer_1`.*write of 4 bytes at 0x40000000"):
        profile(image.elf, core_board("cortex-m4"), "fw")
    with pytest.raises(ToolError, match="broke off: usage"):
        profile(image.elf, core_board("cortex-m4"), "fw x")


def test_firmware_for_neither_board_nor_bare_core(tmp_path: Path) -> None:
    """It gets flash and RAM at its own addresses, and counts as much as anywhere."""
    image = build(tiny_network.sources(), find_board("raspberry-pi-pico"), tmp_path)
    elsewhere = profile(image.elf, core_board("cortex-m0plus"), "fw")
    home = profile(image.elf, find_board("raspberry-pi-pico"), "fw")
    assert elsewhere.instructions == home.instructions and elsewhere.printed == home.printed
