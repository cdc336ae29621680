"""The dual-issue pipeline: cycles of small loops on the Cortex-M7, worked out by hand from docs/timing.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_network

from midge.build import build
from midge.emulate import emulate
from midge.emulate.timing import Pipeline
from midge.emulate.timing.classify import decode
from midge.emulate.timing.kinds import parse_kind
from midge.emulate.timing.operands import operands
from midge.errors import InternalError
from midge.targets import core_board

ROUNDS = 1000
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
# r0 points to 64 bytes of which the first word is their own address; r2, r3 and r12 are free. Before each body stands
# `subs r1, #1`, after it the branch back. In the comments each pair of brackets is a cycle; s is subs, b the branch.
CASES = [
    ("", 2),  # [s] [b]: the branch needs the flags
    ("mov r2, r3", 2),  # [s mov] [b]
    ("mov r2, r3; mov r12, r3", 2),  # [s mov] [mov b]
    ("mov r2, r3; add r2, r2, #1", 2),  # [s mov] [add b]
    ("mov r2, r3; add r2, r2, #1; add r2, r2, #1", 3),  # a chain: one a cycle
    ("ldr r2, [r0]; ldr r3, [r0, #4]", 2),  # [s ldr] [ldr b]
    ("ldr r2, [r0]; ldr r3, [r0, #4]; ldr r12, [r0, #8]", 3),  # [s ldr] [ldr ldr] [b]
    ("ldr r2, [r0]; add r3, r2, #1", 2),  # a loaded word is there in the next cycle
    ("ldrsb r2, [r0]; add r3, r2, #1", 3),  # a loaded byte takes one more
    ("ldr r2, [r0]; ldr r3, [r2]", 3),  # addresses are needed a cycle earlier
    ("mul r2, r3, r12; add r3, r2, #1", 3),  # products take two cycles
    ("smlad r2, r3, r12, r2; smlad r2, r3, r12, r2", 2),  # accumulators are needed late: one a cycle
    ("smlad r2, r3, r12, r2; ldr r3, [r0]", 2),  # [s smlad] [ldr b]
    ("ldr r2, [r0]; smlad r3, r2, r2, r3", 3),  # [s ldr] [] [smlad b]: a product waits longer for a load
    ("ldr r2, [r0]; smlad r2, r3, r12, r2", 2),  # [s ldr] [smlad b]: its sum does not
    ("mov r2, r3; smlad r2, r3, r12, r2; str r3, [r0]; mov r12, r3", 4),  # [s mov] [smlad] [str mov] [b]
    ("mov r12, r0; ldr r2, [r0]; ldr r3, [r0, #4]; mov r12, r0", 3),  # [s mov] [ldr ldr] [mov b]
    ("mov r12, r0; ldr r2, [r0]; ldr r3, [r0, #8]; mov r12, r0", 4),  # [s mov] [ldr] [ldr mov] [b]: one half
    ("mul r2, r3, r3; str r2, [r0]", 2),  # stored data are needed late
    ("str r2, [r0]; str r3, [r0, #4]", 2),  # [s str] [str b]
    ("mov r12, r0; str r2, [r12], #4; str r2, [r12], #4", 4),  # [s mov] [] [str] [str b]: a base is free at once
    ("add r2, r3, r12, lsl #2; add r2, r3, r12, lsl #2; mov r12, r3", 3),  # [s add] [add mov] [b]
    ("sxtb16 r2, r3; sxtb16 r12, r3", 3),  # [s] [sxtb16] [sxtb16 b]: never second of a pair
    ("ssat r2, #8, r3, asr #4", 2),  # [s] [ssat b]
    ("ldrd r2, r3, [r0]", 3),  # [s] [ldrd] [b]
    ("ldm r0, {r2, r3, r12}", 4),  # [s] [ldm] [ldm] [b]: two words a cycle
    ("sdiv r2, r3, r12", 9),  # [s], seven alone, [b]
    ("it eq; moveq r2, r3", 2),  # [s it] [mov b]
    ("vmla.f32 s0, s1, s2; vmla.f32 s0, s1, s2", 6),  # each sum is needed three cycles before its product's end
]


@pytest.mark.parametrize(("assembly", "cycles"), CASES, ids=[case[0] or "empty" for case in CASES])
def test_cycles_of_a_round(assembly: str, cycles: int, tmp_path: Path) -> None:
    loop = f"movw r1, #{ROUNDS}; mov r3, #0; mov r12, #1; str r0, [r0]; 1: subs r1, #1; {assembly}; bne 1b; bx lr"
    text = r"\n\t".join(part.strip() for part in loop.split(";") if part.strip())
    sources, board = tiny_network.sources(BODY % text, weight_bytes=0), core_board("cortex-m7")
    layer = emulate(build(sources, board, tmp_path), sources, board).layers[0]
    # Beside the rounds: the first four instructions, one wrong guess of the loop's branch and one of the return.
    assert layer.cycles // ROUNDS == cycles
    assert 12 <= layer.cycles % ROUNDS <= 24


def test_operands() -> None:
    smlad, load, push = (decode(bytes.fromhex(code), 0)[0] for code in ("22fb0310", "51f8042b", "2de91040"))
    assert [one.text for one in (smlad, load)] == ["smlad r0, r2, r3, r1", "ldr r2, [r1], #4"]
    assert operands(smlad).results == ("r0",)
    assert operands(smlad).sources == (("r2", "plain"), ("r3", "plain"), ("r1", "accumulator"))
    assert (operands(load).results, operands(load).base, operands(load).sources) == (
        ("r2",),
        "r1",
        (("r1", "address"),),
    )
    assert operands(push).base == "sp" and operands(push).sources[-1] == ("sp", "address")


def test_mistakes_in_a_table_are_named() -> None:
    with pytest.raises(InternalError, match="unknown aluu"):
        parse_kind("core x", "aluu, latency 2")
    with pytest.raises(InternalError, match="unknown lately"):
        parse_kind("core x", "alu, lately 2")
    table = {**core_board("cortex-m7").core.timing, "model": "triple-issue"}
    with pytest.raises(InternalError, match="`triple-issue`"):
        Pipeline("cortex-m7", table)


def test_branches_are_guessed_by_what_they_do_most(tmp_path: Path) -> None:
    """A loop of ten is guessed wrong once; one that goes on every second time half of the time."""
    even = "movs r2, #1; movs r1, #100; 1: eor r2, r2, #1; cbz r2, 2f; mov r3, r3; 2: subs r1, #1; bne 1b; bx lr"
    straight = even.replace("eor r2, r2, #1", "eor r2, r2, #0")
    cycles = []
    for number, loop in enumerate((even, straight)):
        text = r"\n\t".join(part.strip() for part in loop.split(";"))
        sources, board = tiny_network.sources(BODY % text, weight_bytes=0), core_board("cortex-m7")
        cycles.append(emulate(build(sources, board, tmp_path / str(number)), sources, board).layers[0].cycles)
    mispredict = core_board("cortex-m7").core.timing["mispredict"]
    assert cycles[0] - cycles[1] == pytest.approx(50 * int(mispredict), abs=60)
