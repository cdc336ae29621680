"""The emulated RISC-V board: faults and how they are told, cycles worked out by hand, and QEMU's machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_network

from midge.build import build
from midge.emulate import emulate, fixed_pattern, qemu
from midge.emulate.profile import profile
from midge.emulate.timing.classify_riscv import decode, instruction_count
from midge.errors import DoesNotFitError, InternalError, UnsupportedError, UsageError
from midge.targets import core_board, find_board

CORE = "rv32imc"
needs_qemu = pytest.mark.skipif(
    shutil.which(qemu.RISCV_COMMAND) is None or sys.platform == "win32", reason="qemu-system-riscv32 is not installed"
)
BODY = """
#include "tiny.h"
_Alignas(8) int8_t tiny_arena[128];

__attribute__((naked, noinline, aligned(4))) static void tiny_layer_0(int8_t *data)
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
# a0 points to 64 bytes; a1 to a5 and t0 to t6 are free. The return, `ret`, is not written: 1 instruction, 2 cycles.
CASES = [
    # (assembly, instructions, cycles)
    ("nop; add a1, a2, a3; li a4, 5; lui a5, 7", 4, 4),
    ("mul a1, a2, a3; add a1, a1, a2", 2, 2),
    ("mulh a1, a2, a3; mulhu a4, a2, a3; mulhsu a5, a2, a3", 3, 15),
    ("li a2, 3; div a1, a1, a2; remu a3, a1, a2", 3, 1 + 35 + 35),
    # What a load brings is ready one instruction later.
    ("lw a1, 0(a0); nop; add a1, a1, a1", 3, 3),
    ("lw a1, 0(a0); add a1, a1, a1", 2, 3),
    ("lb a1, 0(a0); lb a2, 1(a0); mul a3, a1, a2", 3, 4),
    ("lw a1, 0(a0); sw a1, 4(a0); sb a1, 8(a0)", 3, 4),
    ("mv a1, a0; lw a2, 0(a1); lw a1, 0(a1)", 3, 3),
    # A loop of 10: 9 branches are taken, the last one is not. The second one's head is 32 bits in the middle of a word.
    ("li a1, 10; .balign 4; 1: addi a1, a1, -1; bnez a1, 1b", 22, 2 + 10 + 9 * 3 + 1),
    ("li a1, 10; li a2, 1; li a3, 0; .option norvc; 1: addi a1, a1, -1; .option rvc; bnez a1, 1b",
     23, 3 + 10 + 9 * (3 + 1) + 1),
    ("beqz zero, 1f; nop; .balign 4; 1: nop", 2, 3 + 1),
    ("j 1f; nop; .balign 4; 1: nop", 2, 2 + 1),
    ("mv t0, ra; jal 1f; j 2f; .balign 4; 1: ret; .balign 4; 2: mv ra, t0; nop", 6, 1 + 2 + 2 + 2 + 1 + 1),
    # A jump through a register that the instruction before has written waits for it.
    ("mv t0, ra; nop; la t1, 1f; jr t1; nop; .balign 4; 1: mv ra, t0; nop", 7, 4 + (2 + 1) + 2),
    ("fence; nop", 2, 3),
]  # fmt: skip


@pytest.mark.parametrize(("assembly", "instructions", "cycles"), CASES, ids=[case[0] for case in CASES])
def test_cycles(assembly: str, instructions: int, cycles: int, tmp_path: Path) -> None:
    text = r"\n\t".join(part.strip() for part in f"{assembly}; ret".split(";"))
    sources, board = tiny_network.sources(BODY % text, weight_bytes=0), core_board(CORE)
    layer = emulate(build(sources, board, tmp_path), sources, board).layers[0]
    assert (layer.instructions, layer.cycles) == (instructions + 1, cycles + 2)


def test_instruction_widths() -> None:
    code = bytes.fromhex("0100 93050500 0545 ef008000")
    assert instruction_count(code) == 4
    assert [instruction.bytes for instruction in decode(code, 0)] == [2, 4, 2, 4]


def test_instructions_of_other_extensions_are_refused() -> None:
    for code in ("2f2a0500", "53f50500", "ffffffff"):  # amoadd.w, fadd.s, nothing
        with pytest.raises(UnsupportedError, match="RV32IMC"):
            decode(bytes.fromhex(code), 0)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("*(volatile int *)0x40000000 = step;", "write of 4 bytes at 0x40000000, where the board has no memory"),
        ("tiny_arena[0] = *(volatile signed char *)0x80800000;",
         "read of 1 bytes at 0x80800000, where the board has no memory"),
        ("*(volatile short *)0x80000100 = (short)step;", "write of 2 bytes at 0x80000100, which is flash"),
        ("((void (*)(void))0x10000000)();", "instruction fetch at 0x10000000, where the board has no memory"),
        ('__asm volatile(".word 0xffffffff");', "undefined instruction"),
        ('__asm volatile("ebreak");', "undefined instruction"),
        ('__asm volatile("lw a1, 1(%0)" :: "r"(tiny_arena) : "a1");', "accesses 4 bytes at 0x"),
        ('__asm volatile("sh a1, 3(%0)" :: "r"(tiny_arena));', "accesses 2 bytes at 0x"),
    ],
)  # fmt: skip
def test_fault_names_layer_and_access(statement: str, message: str, tmp_path: Path) -> None:
    board = core_board(CORE)
    head = "static void tiny_layer_1(int step)\n{\n"
    sources = tiny_network.sources(tiny_network.text().replace(head, f"{head}    {statement}\n"))
    image = build(sources, board, tmp_path)
    with pytest.raises(InternalError) as error:
        emulate(image, sources, board)
    assert message in str(error.value)
    if "fetch" not in message:
        assert "function `tiny_layer_1`" in str(error.value)


def test_stack_overflow(tmp_path: Path) -> None:
    board = core_board(CORE)
    head = "static void tiny_layer_1(int step)\n{\n"
    deep = "volatile int deep[4000]; for (int i = 3999; i >= 0; --i) deep[i] = step;"
    sources = tiny_network.sources(tiny_network.text().replace(head, f"{head}    {deep}\n"))
    image = build(sources, board, tmp_path)
    with pytest.raises(DoesNotFitError, match=r"layer `divide`.*stack overflow.*at most 7912 bytes of stack"):
        emulate(image, sources, board)


def test_stack_is_measured(tmp_path: Path) -> None:
    board = core_board(CORE)
    for count in (16, 32, 112):
        text = rf"addi sp, sp, -{count}\n\tsw a1, 0(sp)\n\taddi sp, sp, {count}\n\tret"
        sources = tiny_network.sources(BODY % text, weight_bytes=0)
        trace = emulate(build(sources, board, tmp_path / str(count)), sources, board)
        assert trace.stack_bytes == 16 + count  # the run function's own frame first


def test_a_real_board(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), find_board("esp32-c3-devkitm-1")
    bare = core_board(CORE)
    trace = emulate(build(sources, board, tmp_path / "board"), sources, board)
    same = emulate(build(sources, bare, tmp_path / "core"), sources, bare)
    assert trace.instructions == same.instructions
    assert trace.cycles is not None and same.cycles is not None and trace.cycles > same.cycles  # its flash has misses
    for ours, theirs in zip(trace.outputs, same.outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_firmware_of_another_architecture(tmp_path: Path) -> None:
    sources = tiny_network.sources()
    image = build(sources, core_board("cortex-m4"), tmp_path)
    with pytest.raises(UsageError, match="an ELF for arm; expected one for RISC-V RV32IMC"):
        emulate(image, sources, core_board(CORE))


def test_no_gnu_compiler(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="no GNU compiler"):
        build(tiny_network.sources(), core_board(CORE), tmp_path, cc="gcc")


def test_profile_of_the_whole_firmware(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board(CORE)
    image = build(sources, board, tmp_path)
    counted = profile(image.elf, board, "fw 2", "fw 1")
    trace = emulate(image, sources, board)
    of_network = {f.name: f.instructions for f in counted.functions if f.name.startswith("tiny_")}
    assert sum(of_network.values()) == trace.instructions
    assert "host_command_line" not in {f.name for f in counted.functions}  # as often in both runs


@needs_qemu
def test_same_trace_as_qemu(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board(CORE)
    image = build(sources, board, tmp_path)
    ours, theirs = emulate(image, sources, board), emulate(image, sources, board, backend="qemu")
    assert ours.layers == theirs.layers
    assert ours.stack_bytes == theirs.stack_bytes
    for one, other in zip(ours.outputs, theirs.outputs, strict=True):
        np.testing.assert_array_equal(one, other)


@needs_qemu
def test_the_firmware_runs_on_qemu_as_it_is(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board(CORE)
    image = build(sources, board, tmp_path)
    expected = emulate(image, sources, board, [fixed_pattern(sources.inputs[0].type)]).outputs
    command = [qemu.RISCV_COMMAND, "-M", "virt", "-bios", "none", "-display", "none", "-serial", "none", "-monitor",
               "none", "-semihosting-config", "enable=on,target=native,arg=fw", "-kernel", str(image.elf)]  # fmt: skip
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    lines = (printed.stdout + printed.stderr).splitlines()
    found = [[int(word) for word in line.split(":")[1].split()] for line in lines if line.startswith("output")]
    assert found == [output.reshape(-1).tolist() for output in expected]
