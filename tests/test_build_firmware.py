"""Building the test firmware: what is left behind, what is measured, what is refused."""

from __future__ import annotations

import dataclasses
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import tiny_network
from elftools.elf.elffile import ELFFile

from midge.build import build
from midge.build.sizes import symbols
from midge.errors import DoesNotFitError, ToolError, UnsupportedError, UsageError
from midge.targets import core_board, find_board
from midge.targets.records import Board

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m33", "cortex-m55")
needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
COMPILERS = ("zig", pytest.param("gcc", marks=needs_gcc))


def small_board(flash_bytes: int, ram_bytes: int) -> Board:
    board = core_board("cortex-m4")
    regions = tuple(
        dataclasses.replace(region, bytes=flash_bytes if region.kind == "flash" else ram_bytes)
        for region in board.regions
    )
    return dataclasses.replace(board, name="small", regions=regions)


def section_bytes(elf: Path) -> dict[str, int]:
    with elf.open("rb") as stream:
        return {section.name: section["sh_size"] for section in ELFFile(stream).iter_sections()}


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("core", CORES)
def test_leaves_firmware_and_all_sources(core: str, cc: str, tmp_path: Path) -> None:
    image = build(tiny_network.sources(), core_board(core), tmp_path / "out", cc=cc)  # type: ignore[arg-type]
    names = sorted(str(path.relative_to(tmp_path).as_posix()) for path in tmp_path.rglob("*") if path.is_file())
    harness = ("commands.txt", "harness.h", "host.c", "include/string.h", "link.ld", "main.c", "start.c")
    assert names == ["out/firmware.elf", *(f"out/harness/{name}" for name in harness), "out/tiny.c", "out/tiny.h"]
    assert image.elf == tmp_path / "out" / "firmware.elf"
    assert image.flash.weights == 64
    assert image.arena_bytes == 128
    assert image.static_bytes == 0
    assert image.compiler.startswith("zig cc 0." if cc == "zig" else "arm-none-eabi-gcc ")


@pytest.mark.parametrize("cc", COMPILERS)
def test_code_is_functions_and_library_calls(cc: str, tmp_path: Path) -> None:
    image = build(tiny_network.sources(), core_board("cortex-m0plus"), tmp_path, cc=cc)  # type: ignore[arg-type]
    sections = section_bytes(image.elf)
    assert sections[".lib.text"] > 0, "Armv6-M has no division"
    assert image.flash.code == sections[".network.text"] + sections[".lib.text"] + sections.get(".lib.rodata", 0)
    owned = [symbol for symbol in symbols(image.elf) if symbol.section == ".network.text" and symbol.is_function]
    assert {symbol.name for symbol in owned} == {"tiny_run", "tiny_layer_0", "tiny_layer_1"}
    padding = sections[".network.text"] - sum(symbol.bytes for symbol in owned)
    assert 0 <= padding <= 3 * len(owned)


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("core", CORES)
def test_harness_calls_no_library_function(core: str, cc: str, tmp_path: Path) -> None:
    body = """
    #include "tiny.h"
    _Alignas(4) int8_t tiny_arena[128];
    __attribute__((noinline)) static void tiny_layer_0(int step) { tiny_arena[64] = (int8_t)step; }
    __attribute__((noinline)) static void tiny_layer_1(int step) { tiny_arena[65] = (int8_t)step; }
    void tiny_run(void) { tiny_layer_0(1); tiny_layer_1(2); }
    """
    image = build(tiny_network.sources(body), core_board(core), tmp_path, cc=cc)  # type: ignore[arg-type]
    sections = section_bytes(image.elf)
    assert [sections.get(f".lib.{name}", 0) for name in ("text", "rodata", "bss")] == [0, 0, 0]
    assert sections.get(".network.data", 0) == 0
    assert image.flash.weights == 0


def test_initialised_and_zeroed_data_count_as_static(tmp_path: Path) -> None:
    body = "int tiny_data[5] = {1, 2, 3, 4, 5};\nint tiny_zeroed[7];\n" + tiny_network.text()
    body = body.replace("(int8_t)(tiny_output_1()[step]", "(int8_t)(tiny_data[step & 3] + tiny_zeroed[step & 3]++ +"
                        " tiny_output_1()[step]")  # fmt: skip
    image = build(tiny_network.sources(body), core_board("cortex-m4"), tmp_path)
    assert image.static_bytes == 20 + 28
    assert image.flash.weights == 64 + 20


@pytest.mark.parametrize("cc", COMPILERS)
def test_same_sources_same_bytes(cc: str, tmp_path: Path) -> None:
    first, second = (
        build(tiny_network.sources(), core_board("cortex-m4"), tmp_path / name, cc=cc)  # type: ignore[arg-type]
        for name in ("a", "b")
    )
    assert first.elf.read_bytes() == second.elf.read_bytes()


@needs_gcc
def test_written_commands_rebuild_the_firmware(tmp_path: Path) -> None:
    image = build(tiny_network.sources(), core_board("cortex-m4"), tmp_path, cc="gcc")
    before = image.elf.read_bytes()
    image.elf.unlink()
    for line in (tmp_path / "harness" / "commands.txt").read_text().splitlines()[1:]:
        subprocess.run(shlex.split(line), cwd=tmp_path, check=True)
    assert image.elf.read_bytes() == before


def test_optimise_for_flash_is_smaller(tmp_path: Path) -> None:
    sizes = {
        goal: build(tiny_network.sources(), core_board("cortex-m4"), tmp_path / goal, optimize=goal).flash.code
        for goal in ("latency", "flash")
    }
    assert sizes["flash"] < sizes["latency"]
    with pytest.raises(UsageError, match="beauty"):
        build(tiny_network.sources(), core_board("cortex-m4"), tmp_path / "beauty", optimize="beauty")


def test_compiler_error_is_shown_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(ToolError, match="expected ';'"):
        build(tiny_network.sources("int broken = 1\n"), core_board("cortex-m4"), tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.txt"]


def test_stack_lies_below_all_data(tmp_path: Path) -> None:
    board = core_board("cortex-m4")
    image = build(tiny_network.sources(), board, tmp_path)
    addresses = {symbol.name: symbol.address for symbol in symbols(image.elf)}
    assert addresses["harness_stack_bottom"] == board.ram.base
    assert addresses["harness_stack_top"] == board.ram.base + 8192
    assert addresses["tiny_arena"] >= addresses["harness_stack_top"]


def test_stack_shrinks_to_what_is_left(tmp_path: Path) -> None:
    image = build(tiny_network.sources(), small_board(65536, 4096), tmp_path)
    addresses = {symbol.name: symbol.address for symbol in symbols(image.elf)}
    stack = addresses["harness_stack_top"] - addresses["harness_stack_bottom"]
    assert 3200 < stack < 4096 - 128


def test_ram_too_small_by_the_plan(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFitError, match=r"1152 bytes of RAM needed.*at most 1024 bytes") as error:
        build(tiny_network.sources(), small_board(65536, 1024), tmp_path / "out")
    assert error.value.exit_code == 3
    assert not (tmp_path / "out").exists()


def test_ram_too_small_by_the_linker(tmp_path: Path) -> None:
    body = "signed char tiny_more[3000];\n" + tiny_network.text().replace(
        "+ step) & 63]", "+ step) & 63] + tiny_more[(i * step) & 2047]++"
    )
    with pytest.raises(DoesNotFitError, match=r"RAM needed.*at most 4096 bytes. Largest: tiny_more \(3000\)"):
        build(tiny_network.sources(body), small_board(65536, 4096), tmp_path)


@pytest.mark.parametrize("cc", COMPILERS)
def test_flash_too_small_by_the_linker(cc: str, tmp_path: Path) -> None:
    with pytest.raises(DoesNotFitError, match=r"bytes of flash needed.*at most 512 bytes. Largest: (tiny_|weights)"):
        build(tiny_network.sources(), small_board(512, 65536), tmp_path, cc=cc)  # type: ignore[arg-type]


def test_flash_too_small_for_the_weights(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFitError, match="70000 bytes of flash needed"):
        build(tiny_network.sources(weight_bytes=70000), small_board(65536, 65536), tmp_path)


def test_architecture_without_test_firmware(tmp_path: Path) -> None:
    core = dataclasses.replace(core_board("cortex-m4").core, name="ev", architecture="arcv2em")
    board = dataclasses.replace(core_board("cortex-m4"), core=core)
    with pytest.raises(UnsupportedError, match="no test firmware"):
        build(tiny_network.sources(), board, tmp_path)


@pytest.mark.parametrize("name", ["arduino-nano-33-ble-sense", "raspberry-pi-pico"])
def test_real_boards(name: str, tmp_path: Path) -> None:
    board = find_board(name)
    image = build(tiny_network.sources(), board, tmp_path)
    addresses = {symbol.name: symbol.address for symbol in symbols(image.elf)}
    assert board.flash.base <= addresses["tiny_run"] < board.flash.base + 4096
    assert addresses["tiny_arena"] - board.ram.base == 8192
