"""Overlapped vectors: decoding of Helium, and cycles of the Cortex-M55 worked out by hand from docs/timing.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_network

from midge.build import build
from midge.emulate import emulate
from midge.emulate.timing import Pipeline
from midge.emulate.timing.classify import decode
from midge.emulate.timing.operands import operands
from midge.emulate.timing.overlapped import Overlapped, parse_light
from midge.emulate.timing.pipeline import Block
from midge.errors import InternalError
from midge.targets import core_board

CORE = "cortex-m55"
ROUNDS = 100
DECODED = [
    # (bytes, assembly, class, registers read, registers written), as LLVM's assembler encodes them
    ("b0ec101e", "vldrb.u8 q0, [r0], #16", "vector_load", "r0", "q0 r0"),
    ("93ed009f", "vldrw.u32 q4, [r3]", "vector_load", "r3", "q4"),
    ("f0ee222f", "vmladava.s8 r2, q0, q1", "vector_multiply", "q0 q1 r2", "r2"),
    ("84ee260e", "vmlaldava.s16 r0, r1, q2, q3", "vector_multiply", "q2 q3 r0 r1", "r0 r1"),
    ("26ef4848", "vadd.i32 q2, q3, q4", "vector_integer", "q3 q4", "q2"),
    ("24ef56a9", "vmul.i32 q5, q2, q3", "vector_multiply", "q2 q3", "q5"),
    ("23fe650e", "vqrdmulh.s32 q0, q1, r5", "vector_multiply", "q1 r5", "q0"),
    ("99ee430f", "vqrshrnb.s32 q0, q1, #7", "vector_narrow", "q0 q1", "q0"),
    ("a4ec04bf", "vstrw.32 q5, [r4], #16", "vector_store", "q5 r4", "r4"),
    ("84ed001e", "vstrb.8 q0, [r4]", "vector_store", "q0 r4", ""),
    ("90fc0ece", "vldrb.u8 q6, [r0, q7]", "vector_gather", "q7 r0", "q6"),
    ("a2fc619f", "vst43.32 {q4, q5, q6, q7}, [r2]!", "vector_store_interleaved", "q4 q5 q6 q7 r2", "r2"),
    ("11ec000f", "vmov q0[2], q0[0], r0, r1", "vector_move", "q0 r0 r1", "q0"),
    ("32ee303b", "vmov.s16 r3, q1[2]", "vector_float", "q1", "r3"),
    ("01fe611f", "vcmp.s8 gt, q0, r1", "vector_float", "q0 r1", ""),
    ("71fe4d8f", "vpsteee", "vector_control", "", ""),
    ("03f001e8", "vctp.8 r3", "vector_control", "r3", ""),
    ("e6ee109b", "vdup.8 q3, r9", "vector_integer", "r9", "q3"),
    ("23eeee2f", "vidup.u32 q1, r2, #4", "vector_integer", "r2", "q1 r2"),
    ("e2ee043f", "vmaxv.s8 r3, q2", "vector_integer_slow", "q2 r3", "r3"),
    ("52eadf15", "lsrl r2, r5, #7", "long_shift", "r2 r5", "r2 r5"),
    ("51ea0280", "csel r0, r1, r2, eq", "alu", "flags r1 r2", "r0"),
    ("03f001e0", "dlstp.8 lr, r3", "loop_start", "r3", "lr"),
    ("0ff005c0", "le lr, #-8", "loop_end", "lr", "lr"),
    # Older ones, which are encoded beside them
    ("30ee810a", "vadd.f32 s0, s1, s2", "float_alu", "s1 s2", "s0"),
    ("51ea0200", "orrs.w r0, r1, r2", "alu", "r1 r2", "r0 flags"),
    ("fff7febf", "b.w .", "branch", "", ""),
]
# r0 to r4 hold addresses. In the comments each pair of brackets is a cycle, `-` a cycle in which nothing issues.
LOAD, LOAD_TOO, DOT = "b0ec101e", "b1ec103e", "f0ee222f"
ROUND = [
    # (instructions, cycles of a round when it goes on for ever)
    ((LOAD, DOT), 2),  # [load] [dot]: each unit is busy for two beats, the other one is not
    ((LOAD, LOAD_TOO, DOT), 4),  # [load] [-] [load] [dot]
    ((DOT, DOT), 4),  # a sum waits for the one before, and the unit is busy as long
    (("26ef4848", "24ef56a9", "a4ec04bf"), 3),  # [vadd] [vmul] [store]: stored as soon as the product's first beat
    (("23fe650e", "99ee430f"), 3),  # [vqrdmulh] [-] [vqrshrnb]: a product takes two cycles
    (("99ee430f", "84ed001e"), 4),  # [vqrshrnb] [-] [-] [store]: nothing forwards a narrowed result
    (("90fc0ece",), 8),  # 16 elements, two a cycle
    (("5118", "0930"), 1),  # [adds r1, r2, r1; adds r0, #9]: a light one beside
    (("5118", "5218"), 2),  # sums of registers are not light
    (("0868", "4118"), 3),  # [ldr r0, [r1]] [-] [adds r1, r0, r1]
    (("5118", LOAD), 2),  # [adds] [load]: vectors issue alone, and scalars between their beats
]


@pytest.mark.parametrize(("code", "assembly", "class_", "reads", "writes"), DECODED, ids=[d[1] for d in DECODED])
def test_decoded(code: str, assembly: str, class_: str, reads: str, writes: str) -> None:
    (instruction,) = decode(bytes.fromhex(code), 0x100)
    found = operands(instruction)
    assert assembly.startswith(instruction.mnemonic.rstrip("dav")) or class_ in ("long_shift", "vector_control")
    assert instruction.class_ == class_
    assert sorted(register for register, _ in found.sources) == sorted(reads.split())
    assert sorted(found.results) == sorted(writes.split())


def test_a_loop_leads_back() -> None:
    (instruction,) = decode(bytes.fromhex("0ff005c0"), 0x100)
    assert instruction.text.endswith("#0xfc")


@pytest.mark.parametrize(("codes", "cycles"), ROUND, ids=[" ".join(codes) for codes, _ in ROUND])
def test_a_round(codes: tuple[str, ...], cycles: int) -> None:
    pipeline = Pipeline(CORE, core_board(CORE).core.timing)
    kinds = pipeline.kinds
    assert kinds is not None
    issuing, ends = Overlapped(kinds, pipeline.light), []
    for _ in range(ROUNDS):
        for instruction in decode(bytes.fromhex("".join(codes)), 0):
            issuing.issue(instruction)
        ends.append(issuing.end)
    assert (ends[-1] - ends[ROUNDS // 2 - 1]) / (ROUNDS // 2) == cycles


M33 = [
    # As measured on an RP2350 (docs/timing.md, "Cortex-M33"); taken branches included.
    ("0138fdd1", 3),  # subs r0, #1; bne: one cycle, and two for the branch
    ("01381144fcd1", 3),  # subs r0, #1; add r1, r2; bne: the flags are old enough
    ("01384ff00001fbd1", 4),  # subs; mov.w r1, #0; bne: no partner of 16 bits
    ("0138086851f8042bf9d1", 4 + 1),  # subs; ldr r0, [r1]; ldr r2, [r1], #4; bne
]


@pytest.mark.parametrize(("code", "cycles"), M33, ids=[code for code, _ in M33])
def test_rounds_of_the_cortex_m33(code: str, cycles: int) -> None:
    pipeline = Pipeline("cortex-m33", core_board("cortex-m33").core.timing)
    block = decode(bytes.fromhex(code), 0)
    assert pipeline.cycles(Block(block, after_branch=block * 2), np.array([[0, 0], [0, 10]])) == 10 * cycles


def test_light_names_are_checked() -> None:
    assert parse_light("core x", "branch nop") == ("branch", "nop")
    with pytest.raises(InternalError, match="core x: unknown heavy; expected names of branch, nop"):
        parse_light("core x", "heavy")


def test_branches() -> None:
    """`subs r0, #9` and `bne` issue together; the condition is known a cycle later, then two cycles refill."""
    pipeline = Pipeline(CORE, core_board(CORE).core.timing)
    code = decode(bytes.fromhex("0938fdd1"), 0)
    block = Block(code, after_branch=code * 2)
    assert pipeline.cycles(block, np.array([[0, 0], [0, 10]])) == 10 * (1 + 1 + 2)
    assert pipeline.cycles(block, np.array([[0, 0], [1, 0]])) == 1


@pytest.mark.parametrize("remembered", [True, False])
def test_ends_of_loops(remembered: bool) -> None:
    """A remembered loop costs one branch a run, 3 cycles; one that is forgotten costs it in each round."""
    pipeline = Pipeline(CORE, core_board(CORE).core.timing)
    code = decode(bytes.fromhex(LOAD + DOT + "0ff005c0"), 0x100)
    block = Block(code, after_branch=code * 2, repeats_freely=remembered, entered_freely=remembered)
    rounds = pipeline.cycles(block, np.array([[0, 0], [1, 9]]))
    assert rounds == 10 * 2 + 3 * (1 if remembered else 10)


BODY = """
#include "tiny.h"
_Alignas(8) int8_t tiny_arena[128];

__attribute__((naked, noinline)) static void tiny_layer_0(int8_t *data)
{
    __asm volatile("push {r4, lr}; movs r1, #%d; dls lr, r1;"
                   "1: mov r3, lr; movs r4, #%d; dls lr, r4;"
                   "2: vldrb.u8 q0, [r0]; vmladava.s8 r2, q0, q0; le lr, 2b;"
                   "mov lr, r3; le lr, 1b; pop {r4, pc}");
}

__attribute__((noinline)) static void tiny_layer_1(int step) { tiny_arena[64] = (int8_t)step; }

void tiny_run(void)
{
    tiny_layer_0(tiny_arena);
    tiny_layer_1(2);
}
"""


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="no qemu-system-arm")
def test_loops_on_qemu(tmp_path: Path) -> None:
    """2 cycles for each round more of the inner loop; the outer one is forgotten whenever the inner one runs."""

    def cycles(outer: int, inner: int) -> int:
        board, sources = core_board(CORE), tiny_network.sources(BODY % (outer, inner))
        folder = tmp_path / f"{outer}-{inner}"
        folder.mkdir()
        layer = emulate(build(sources, board, folder), sources, board, backend="qemu").layers[0]
        assert layer.cycles is not None
        return layer.cycles

    base = cycles(1, 2)
    assert cycles(1, 12) - base == 10 * 2
    # mov and movs, dls, 2 rounds, the inner end, mov, the outer end
    assert cycles(4, 2) - base == 3 * (1 + 1 + 2 * 2 + 3 + 1 + 3)
