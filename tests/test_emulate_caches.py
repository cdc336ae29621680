"""Caches and wait states before a board's memories: small pieces of assembly whose misses can be counted by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from midge.emulate.profile import profile
from midge.errors import InternalError
from midge.report.metrics import cycles_note
from midge.targets import boards, core_board, cores
from midge.targets.records import Board

LINKER_SCRIPT = """
PHDRS { code PT_LOAD; data PT_LOAD; }
SECTIONS
{
    .text 0 : { KEEP(*(.vectors)) *(.text*) } :code
    .bss 0x20000000 (NOLOAD) : { *(.bss*) } :data
    /DISCARD/ : { *(.ARM.exidx*) }
}
"""
# It does `work` as often as its command line has characters, with r0 at 128 bytes of constants, r1 at 256 bytes of RAM.
FIRMWARE = r"""
    .syntax unified
    .thumb
    .section .vectors, "a"
    .word 0x20001000
    .word reset
    .text
    .balign 64
    .type work, %%function
work:
    %s
    bx lr
    .size work, . - work

    .balign 4
    .type reset, %%function
    .thumb_func
reset:
    movs r0, #0x15
    ldr r1, =block
    ldr r2, =block + 8
    str r2, [r1]
    movs r2, #64
    str r2, [r1, #4]
    bkpt 0xab
    ldr r1, =block
    ldr r4, [r1, #4]
1:  movw r0, #:lower16:constants
    movt r0, #:upper16:constants
    movw r1, #:lower16:ram
    movt r1, #:upper16:ram
    bl work
    subs r4, #1
    bne 1b
    movs r0, #0x18
    ldr r1, =0x20026
    bkpt 0xab
    .ltorg
    .size reset, . - reset
    .balign 256
constants: .space 128
    .bss
    .balign 256
ram: .space 256
block: .space 128
"""
MISS = {"flash_miss": 100, "flash_sector_bytes": 8}
READS = MISS | {"flash_miss": 0.001, "read_miss": 100}
READ_CACHE = READS | {"read_cache_lines": 2, "read_cache_line_bytes": 8}
FETCHES = MISS | {"fetch_cache_lines": 4, "fetch_cache_line_bytes": 16}
AGAIN = "ldr r2, [r0]; ldr r2, [r0, #16]; " * 3
CASES = {
    # name: (table, assembly, hundreds of cycles waited in the first round, and in the second)
    "words that no cache holds": (READS, "ldr r2, [r0]; ldrb r2, [r0, #1]; ldrd r2, r3, [r0, #8]", 4, 4),
    "no wait for RAM": (READS, "ldr r2, [r1]; str r2, [r1]", 0, 0),
    "two lines hold two": (READ_CACHE, AGAIN, 2, 0),
    "one set of two ways": (READ_CACHE | {"read_cache_ways": 2}, AGAIN, 2, 0),
    "both in one set of one way": (READ_CACHE | {"read_cache_ways": 1}, AGAIN, 6, 6),
    "the older of two is replaced": (
        READ_CACHE, "ldr r2, [r0]; ldr r2, [r0, #8]; ldr r2, [r0]; ldr r2, [r0, #16]; ldr r2, [r0]", 3, 2),
    "the rest of a burst is cheap": (
        READ_CACHE | {"read_miss_next": 0}, "ldr r2, [r0, #32]; ldr r2, [r0, #40]; ldr r2, [r0, #48]", 1, 1),
    "sectors of a line come alone": (
        READ_CACHE | {"read_cache_line_bytes": 16}, "ldr r2, [r0]; ldr r2, [r0, #4]; ldr r2, [r0, #8]", 2, 0),
    "seven sectors of code": (FETCHES | {"fetch_cache_lines": 8}, "nop; " * 27, 7, 0),
    "more code than the cache holds": (FETCHES, "nop; " * 39, 10, 10),
    "the prefetch is in time": (FETCHES | {"flash_miss_next": 0}, "nop; " * 39, 1, 1),
    "code from the cache, then its constants": (
        FETCHES | {"unified_cache": 1}, "adr r2, 1f; ldr r2, [r2]; bx lr; .balign 4; 1: .word 0", 2, 0),
    "the same with caches apart": (
        FETCHES | {"read_cache_lines": 2, "read_cache_line_bytes": 8},
        "adr r2, 1f; ldr r2, [r2]; bx lr; .balign 4; 1: .word 0", 2, 0),
    "RAM behind a cache": (
        READ_CACHE | {"ram_miss": 100}, "str r2, [r1]; ldr r2, [r1, #4]; ldr r2, [r1, #8]; ldr r2, [r1]", 2, 0),
}  # fmt: skip


def firmware(folder: Path, assembly: str) -> Path:
    text = "\n    ".join(part.strip() for part in assembly.split(";"))
    (folder / "firmware.S").write_text(FIRMWARE % text, encoding="utf-8")
    (folder / "firmware.ld").write_text(LINKER_SCRIPT, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4", "-nostdlib",
         "-Wl,-T,firmware.ld", "firmware.S", "-o", "firmware.elf"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "firmware.elf"


def with_table(table: Mapping[str, float]) -> Board:
    board = core_board("cortex-m4")
    return replace(board, core=replace(board.core, timing={**board.core.timing, **table}))


def cycles(elf: Path, board: Board, *args: str) -> int:
    return next(f.cycles for f in profile(elf, board, *args).functions if f.name == "work")


@pytest.mark.parametrize("name", CASES)
def test_misses(name: str, tmp_path: Path) -> None:
    table, assembly, first, second = CASES[name]
    elf, board = firmware(tmp_path, assembly), with_table(table)
    plain = cycles(elf, core_board("cortex-m4"), "a")
    # Fractions of a cycle are what the table says of accesses that this case does not count.
    assert [round((cycles(elf, board, *args) - plain) / 100) for args in (("a",), ("ab", "a"))] == [first, second]


def test_a_cache_that_cannot_be(tmp_path: Path) -> None:
    elf = firmware(tmp_path, "nop")
    with pytest.raises(InternalError, match="4 lines in sets of 3"):
        profile(elf, with_table(FETCHES | {"fetch_cache_ways": 3}), "a")


@pytest.mark.parametrize("board", [board for board in boards().values() if board.emulated == "unicorn"],
                         ids=lambda board: board.name)  # fmt: skip
def test_every_board_states_its_memory_and_its_error(board: Board) -> None:
    timing = board.core.timing
    assert timing["memory"] and timing["error"]
    assert str(timing["memory"]) in cycles_note(board) and f"error: {timing['error']}" in cycles_note(board)


@pytest.mark.parametrize("name", [name for name, core in cores().items() if core.timing])
def test_every_core_states_its_error(name: str) -> None:
    assert f"error: {cores()[name].timing['error']}" in cycles_note(core_board(name))
