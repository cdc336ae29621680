"""Waiting for flash: caches in front of it, with misses worked out by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny_network

from midge.build import build
from midge.emulate import emulate
from midge.emulate.trace import LayerCount
from midge.targets import find_board

# The caches of the board: lines of 32 bytes in sectors of 8; 32 lines for code, 8 for data.
BOARD = find_board("nucleo-l4r5zi")
MISS_CYCLES = 6.4

BODY = """
#include "tiny.h"
_Alignas(8) int8_t tiny_arena[128];
__attribute__((aligned(32))) static const unsigned char table[512] = {1};

__attribute__((naked, noinline, aligned(32))) static void tiny_layer_0(const unsigned char *data)
{
    __asm volatile("%s");
}

__attribute__((noinline)) static void tiny_layer_1(int step) { tiny_arena[64] = (int8_t)step; }

void tiny_run(void)
{
    tiny_layer_0(table);
    tiny_layer_1(2);
}
"""


def layer(assembly: str, folder: Path, cached: bool) -> LayerCount:
    core = BOARD.core
    timing = core.timing if cached else {name: value for name, value in core.timing.items() if name != "flash_miss"}
    board = dataclasses.replace(BOARD, core=dataclasses.replace(core, timing=timing))
    text = r"\n\t".join(part.strip() for part in assembly.split(";"))
    sources = tiny_network.sources(BODY % text, weight_bytes=0)
    return emulate(build(sources, board, folder), sources, board).layers[0]


def waiting(assembly: str, folder: Path) -> int:
    """Cycles of the first layer that the memory adds."""
    with_caches, without = (layer(assembly, folder, cached) for cached in (True, False))
    assert with_caches.instructions == without.instructions
    return with_caches.cycles - without.cycles


@pytest.mark.parametrize(
    ("loop_bytes", "misses"),
    # 4 sectors of prologue, 1 of the return; the loop once where it fits 1 KB, else ten times.
    [(512, 4 + 512 // 8 + 1), (960, 4 + 960 // 8 + 1), (2048, 4 + 10 * 2048 // 8 + 1)],
)
def test_code_that_fits_the_cache_or_not(loop_bytes: int, misses: int, tmp_path: Path) -> None:
    prologue = "movs r1, #10; .rept 15; nop; .endr"
    # SUBS, then NOPs, then a wide branch of 4 bytes.
    loop = f"1: subs r1, #1; .rept {(loop_bytes - 6) // 2}; nop; .endr; bne.w 1b"
    assert waiting(f"{prologue}; {loop}; bx lr", tmp_path) == round(misses * MISS_CYCLES)


@pytest.mark.parametrize(("read_bytes", "misses"), [(256, 256 // 8), (512, 10 * 512 // 8)])
def test_constants_that_fit_the_cache_or_not(read_bytes: int, misses: int, tmp_path: Path) -> None:
    code = f"""movs r1, #10; 1: mov r3, r0; add r12, r0, #{read_bytes}; 2: ldr r2, [r3], #4; cmp r3, r12; bne 2b;
               subs r1, #1; bne 1b; bx lr"""
    code_bytes = 2 + 2 + 4 + 4 + 2 + 2 + 2 + 2 + 2
    assert waiting(code, tmp_path) == round((misses + -(-code_bytes // 8)) * MISS_CYCLES)


def test_literals_are_read_through_the_data_cache(tmp_path: Path) -> None:
    # The code (6 bytes) and its constant lie in one line, and in one sector each; both caches miss.
    assert waiting("ldr r1, 1f; nop; bx lr; nop; 1: .word 5", tmp_path) == round(2 * MISS_CYCLES)
