"""Cycles of small pieces of assembly, worked out by hand from the tables in docs/timing.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_network

from midge.build import build
from midge.emulate import emulate
from midge.emulate.timing import Pipeline
from midge.emulate.timing.classify import decode, instruction_count
from midge.errors import InternalError, UnsupportedError
from midge.targets import core_board

BODY = """
#include "tiny.h"
_Alignas(8) int8_t tiny_arena[128];

__attribute__((naked, noinline)) static void tiny_layer_0(int8_t *data)
{
    __asm volatile("%s");
}

__attribute__((noinline)) static void tiny_layer_1(int step) { tiny_arena[64] = (int8_t)step; }

void tiny_run(void)
{
    tiny_layer_0(tiny_arena);
    tiny_layer_1(2);
}
"""
# r0 points to 64 bytes; r1 to r3 and r12 are free. The return, `bx lr`, is not written.
CASES = [
    # (core, assembly, instructions, cycles); the return adds 1 instruction, and 3 cycles on M3 and M4, 2 on M0+.
    ("cortex-m4", "nop; adds r1, r2, r3; movw r1, #5", 3, 3),
    ("cortex-m4", "mul r1, r2, r3; mla r1, r2, r3, r1; smlad r1, r2, r3, r1; smull r1, r2, r3, r12", 4, 4),
    ("cortex-m3", "mul r1, r2, r3; mla r1, r2, r3, r1; mls r1, r2, r3, r1", 3, 1 + 2 + 2),
    ("cortex-m3", "smull r1, r2, r3, r12; umlal r1, r2, r3, r12", 2, 5 + 7),
    ("cortex-m4", "movs r2, #3; sdiv r1, r1, r2; udiv r1, r1, r2", 3, 1 + 7 + 7),
    # A load costs 2; one that directly follows costs 1, unless its address is what the first one loads.
    ("cortex-m4", "ldr r1, [r0]; nop; ldr r2, [r0, #4]", 3, 2 + 1 + 2),
    ("cortex-m4", "ldr r1, [r0]; ldrb r2, [r0, #4]; ldrsh r3, [r0, #8]", 3, 2 + 1 + 1),
    ("cortex-m4", "mov r2, r0; str r2, [r0]; nop; ldr r1, [r0]; ldr r2, [r1]", 5, 1 + 1 + 1 + 2 + 2),
    ("cortex-m4", "ldr r1, [r0]; str r1, [r0, #4]; str r1, [r0, #8]; ldr r2, [r0]", 4, 2 + 1 + 1 + 2),
    # A base that the load before has advanced comes late.
    ("cortex-m4", "mov r3, r0; ldr r1, [r3], #4; ldr r2, [r3]; ldr r12, [r0]", 4, 1 + 2 + 2 + 1),
    ("cortex-m4", "mov r3, r0; ldr r1, [r3], #4; ldr r2, [r0]; ldr r12, [r3]", 4, 1 + 2 + 1 + 1),
    ("cortex-m4", "movs r1, #4; str r2, [r0, r1]; nop; ldr r2, [r0, r1]; str r2, [r0, r1]", 5, 1 + 2 + 1 + 2 + 1),
    ("cortex-m4", "ldrd r1, r2, [r0]; strd r1, r2, [r0, #8]", 2, 3 + 3),
    ("cortex-m4", "ldm r0, {r1, r2, r3}; stm r0, {r1, r2}", 2, 4 + 3),
    ("cortex-m4", "push {r4, r5, lr}; pop {r4, r5, lr}", 2, 4 + 4),
    # A loop of 10: 9 branches are taken, the last one is not.
    ("cortex-m4", "movs r1, #10; 1: subs r1, #1; bne 1b", 21, 1 + 10 + 9 * 3 + 1),
    ("cortex-m4", "movs r1, #10; 1: subs r1, #1; cbz r1, 2f; b 1b; 2:", 1 + 20 + 9, 1 + 10 + 9 * (1 + 3) + 3),
    ("cortex-m4", "mov r3, lr; bl 1f; b 2f; 1: bx lr; 2: mov lr, r3", 5, 1 + 3 + 3 + 3 + 1),
    ("cortex-m4", "mov r3, lr; ldr r1, =1f; adds r1, #1; blx r1; b 2f; .balign 4; 1: bx lr; .ltorg; 2: mov lr, r3",
     7, 1 + 2 + 1 + 3 + 3 + 3 + 1),
    ("cortex-m4", "push {r4, lr}; bl 1f; pop {r4, lr}; b 2f; 1: push {r4, lr}; pop {r4, pc}; 2:",
     6, 3 + 3 + 3 + 3 + 3 + (3 + 2)),
    ("cortex-m4", "movs r1, #1; tbb [pc, r1]; 1: .byte (2f-1b)/2, (2f-1b)/2; 2:", 2, 1 + 4),
    ("cortex-m4", "cmp r1, r1; ite eq; moveq r2, #1; movne r2, #2", 4, 4),
    ("cortex-m4", "cmp r1, r1; it ne; bxne lr", 3, 1 + 1 + 1),
    ("cortex-m4", "dmb; mrs r1, apsr", 2, 1 + 2),
    # The floating-point unit.
    ("cortex-m4", "vadd.f32 s0, s1, s2; vmul.f32 s0, s1, s2; vmla.f32 s0, s1, s2; vfma.f32 s0, s1, s2", 4, 8),
    ("cortex-m4", "vdiv.f32 s0, s1, s2; vsqrt.f32 s3, s4; vcmp.f32 s0, s1; vmrs apsr_nzcv, fpscr", 4, 14 + 14 + 1 + 1),
    ("cortex-m4", "vldr s0, [r0]; vldr d1, [r0, #8]; vstr s0, [r0]; vstr d1, [r0, #8]", 4, 2 + 3 + 2 + 3),
    ("cortex-m4", "vldmia r0, {s0, s1, s2}; vstmia r0, {d0, d1}; vpush {s0}; vpop {s0}", 4, 4 + 5 + 2 + 2),
    ("cortex-m4", "vmov r1, s0; vmov s0, s1, r1, r2; vmov r1, r2, d0; vmov.f32 s1, #1.0", 4, 1 + 2 + 2 + 1),
    ("cortex-m4", "vcvt.s32.f32 s0, s1; vabs.f32 s0, s1; vneg.f32 s1, s2", 3, 3),
    # Armv6-M: loads and stores 2, taken branches 2, BL 3, POP of the program counter 3 + N.
    ("cortex-m0plus", "nop; adds r1, r2, r3; muls r1, r2; mov r12, r1", 4, 4),
    ("cortex-m0plus", "ldr r1, [r0]; ldr r2, [r0, #4]; str r1, [r0]; ldrb r3, [r0]", 4, 8),
    ("cortex-m0plus", "ldm r0!, {r1, r2, r3}", 1, 4),
    ("cortex-m0plus", "movs r1, #10; 1: subs r1, #1; bne 1b", 21, 1 + 10 + 9 * 2 + 1),
    ("cortex-m0plus", "push {r4, lr}; bl 1f; b 2f; 1: push {r4, lr}; pop {r4, pc}; 2: pop {r1, r2}; mov lr, r2",
     7, 3 + 3 + 2 + 3 + (3 + 2) + 3 + 1),
    ("cortex-m0plus", "mov r3, lr; adr r1, 1f; adds r1, #1; blx r1; b 2f; .balign 4; 1: bx lr; 2: mov lr, r3",
     7, 1 + 1 + 1 + 2 + 2 + 2 + 1),
]  # fmt: skip
RETURN = {"cortex-m0plus": 2, "cortex-m3": 3, "cortex-m4": 3}


@pytest.mark.parametrize(("core", "assembly", "instructions", "cycles"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_cycles(core: str, assembly: str, instructions: int, cycles: int, tmp_path: Path) -> None:
    text = r"\n\t".join(part.strip() for part in f"{assembly}; bx lr; .ltorg".split(";"))
    sources, board = tiny_network.sources(BODY % text, weight_bytes=0), core_board(core)
    layer = emulate(build(sources, board, tmp_path), sources, board).layers[0]
    assert (layer.instructions, layer.cycles) == (instructions + 1, cycles + RETURN[core])


def test_stack_is_measured_to_the_byte(tmp_path: Path) -> None:
    for words in (1, 2, 7):
        pushes = r"\n\t".join(["push {r4}"] * words + [f"add sp, #{4 * words}", "bx lr"])
        sources, board = tiny_network.sources(BODY % pushes, weight_bytes=0), core_board("cortex-m4")
        trace = emulate(build(sources, board, tmp_path / str(words)), sources, board)
        # The run function saves r7 (or r4) and lr, 8 bytes, before it calls.
        assert trace.stack_bytes == 8 + 4 * words


def test_sequences_across_a_block_border(tmp_path: Path) -> None:
    """A load that the emulator cuts off from the one before it (at a page of code) is still a pair."""
    loads = r"\n\t".join([".rept 1200", "ldr r1, [r0]", ".endr", "bx lr"])
    sources, board = tiny_network.sources(BODY % loads, weight_bytes=0), core_board("cortex-m4")
    layer = emulate(build(sources, board, tmp_path), sources, board).layers[0]
    assert (layer.instructions, layer.cycles) == (1201, 2 + 1199 + 3)


def test_instruction_widths() -> None:
    code = bytes.fromhex("00bf 41f20500 7047 fff7feff".replace(" ", ""))
    assert instruction_count(code) == 4
    assert [instruction.bytes for instruction in decode(code, 0)] == [2, 4, 2, 4]


def test_exclusive_accesses_and_half_precision_have_classes() -> None:
    """LDAEX, STL, VCVTB: what compilers for Armv8-M and float16 emit."""
    codes = {"d0e8af1f": "load", "c0e8af1f": "store", "b2ee400a": "float_alu"}
    assert {code: decode(bytes.fromhex(code), 0)[0].class_ for code in codes} == codes


def test_unknown_instruction_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"unknown instruction|no class for the instruction"):
        decode(bytes.fromhex("ffffffff"), 0x100)


def test_table_without_an_entry() -> None:
    table = dict(core_board("cortex-m4").core.timing)
    del table["multiply"]
    pipeline = Pipeline("cortex-m4", table)
    with pytest.raises(InternalError, match="`multiply` is None"):
        pipeline.body(decode(bytes.fromhex("02fb03f1"), 0), None)
    with pytest.raises(UnsupportedError, match="no timing table"):
        Pipeline("cortex-m99", {})
