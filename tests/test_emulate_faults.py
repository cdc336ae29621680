"""What the emulated board refuses, and how it says so: address, instruction, function, layer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny_network

from midge.build import build
from midge.build.image import Image
from midge.emit.sources import Sources
from midge.emulate import emulate, emulate_many, fixed_pattern
from midge.errors import DoesNotFitError, InternalError, ToolError
from midge.targets import core_board, find_board
from midge.targets.records import Board


def build_with(statement: str, board: Board, folder: Path) -> tuple[Image, Sources]:
    """The tiny network with a statement more in its second layer."""
    head = "static void tiny_layer_1(int step)\n{\n"
    sources = tiny_network.sources(tiny_network.text().replace(head, f"{head}    {statement}\n"))
    return build(sources, board, folder), sources


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("*(volatile int *)0x40000000 = step;",
         "write of 4 bytes at 0x40000000, where the board has no memory"),
        ("tiny_arena[0] = *(volatile signed char *)0x20400000;",
         "read of 1 bytes at 0x20400000, where the board has no memory"),
        ("*(volatile short *)0x100 = (short)step;", "write of 2 bytes at 0x00000100, which is flash"),
        ("((void (*)(void))0x10000001)();", "instruction fetch at 0x10000000, where the board has no memory"),
        ('__asm volatile("udf #1");', "undefined instruction"),
        ('__asm volatile("bkpt #1");', "breakpoint"),
        ('__asm volatile("svc #1");', "supervisor call"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_fault_names_layer_and_access(core: str, statement: str, message: str, tmp_path: Path) -> None:
    board = core_board(core)
    image, sources = build_with(statement, board, tmp_path)
    with pytest.raises(InternalError) as error:
        emulate(image, sources, board)
    text = str(error.value)
    assert message in text
    assert f"board {core}, layer `divide`, function `" in text
    if "fetch" not in message:
        assert "function `tiny_layer_1`, pc 0x0000" in text


def test_fault_without_counting_names_the_layer_too(tmp_path: Path) -> None:
    board = core_board("cortex-m4")
    image, sources = build_with("*(volatile int *)0x40000000 = step;", board, tmp_path)
    with pytest.raises(InternalError, match=r"layer `divide`, function `tiny_layer_1`.*write of 4 bytes at 0x40000000"):
        emulate_many(image, sources, board, [(fixed_pattern(sources.inputs[0].type),)])


def test_access_beside_the_memory_of_a_real_board(tmp_path: Path) -> None:
    board = find_board("arduino-nano-33-ble-sense")
    end = board.ram.base + board.ram.bytes
    image, sources = build_with(f"*(volatile int *){end:#x} = step;", board, tmp_path)
    with pytest.raises(InternalError, match=f"write of 4 bytes at {end:#010x}, where the board has no memory"):
        emulate(image, sources, board)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_stack_overflow(core: str, counted: bool, tmp_path: Path) -> None:
    board = core_board(core)
    statement = "volatile int deep[4000]; for (int i = 3999; i >= 0; --i) deep[i] = step;"
    image, sources = build_with(statement, board, tmp_path)
    with pytest.raises(DoesNotFitError, match=r"layer `divide`.*stack overflow.*at most 7912 bytes of stack"):
        if counted:
            emulate(image, sources, board)
        else:
            emulate_many(image, sources, board, [(fixed_pattern(sources.inputs[0].type),)])


UNALIGNED = {
    "word": "tiny_arena[64] = (int8_t)*(volatile int *)(void *)(tiny_arena + 2);",
    "halfword": "tiny_arena[64] = (int8_t)*(volatile short *)(void *)(tiny_arena + 1);",
    "double": '__asm volatile("ldrd r2, r3, [%0, #4]" :: "r"(tiny_arena + 2) : "r2", "r3");',
    "multiple": '__asm volatile("ldm %0, {r2, r3}" :: "r"(tiny_arena + 2) : "r2", "r3");',
    "float": '__asm volatile("vldr s0, [%0, #4]" :: "r"(tiny_arena + 2) : "s0");',
}


@pytest.mark.parametrize(
    ("core", "access", "faults"),
    [("cortex-m0plus", "word", True), ("cortex-m0plus", "halfword", True), ("cortex-m4", "word", False),
     ("cortex-m4", "halfword", False), ("cortex-m4", "double", True), ("cortex-m4", "multiple", True),
     ("cortex-m4", "float", True), ("cortex-m3", "word", False), ("cortex-m3", "double", True)],
)  # fmt: skip
def test_unaligned_access(core: str, access: str, faults: bool, tmp_path: Path) -> None:
    board = core_board(core)
    image, sources = build_with(UNALIGNED[access], board, tmp_path)
    if faults:
        with pytest.raises(InternalError, match=r"function `tiny_layer_1`.*align"):
            emulate(image, sources, board)
        return
    # It costs one cycle more in each of the layer's 8 runs.
    assert emulate(image, sources, board).cycles == emulate(image, sources, board, check_alignment=False).cycles + 8


def test_access_that_is_not_executed_is_no_fault(tmp_path: Path) -> None:
    board = core_board("cortex-m4")
    statement = (
        '__asm volatile("cmp %0, #100\\n\\tit hi\\n\\tldrdhi r2, r3, [%1]" :: "r"(step), "r"(tiny_arena + 2)'
        ' : "r2", "r3", "cc");'
    )
    image, sources = build_with(statement, board, tmp_path)
    emulate(image, sources, board)


@pytest.mark.parametrize(
    ("core", "code"),
    [
        ("cortex-m3", ".short 0xfb21, 0xf102"),  # smuad r1, r1, r2
        ("cortex-m3", ".short 0xfa50, 0xf181"),  # uxtab r1, r0, r1
        ("cortex-m0plus", ".short 0xb100"),  # cbz r0, to the next instruction but one
        ("cortex-m0plus", ".short 0xbf08"),  # it eq
        ("cortex-m0plus", ".short 0xfb90, 0xf0f1"),  # sdiv r0, r0, r1
    ],
)
def test_instruction_beyond_the_core(core: str, code: str, tmp_path: Path) -> None:
    board = core_board(core)
    statement = f'__asm volatile("b 1f\\n\\t.balign 4\\n1: {code}\\n\\tnop" ::: "r0", "r1", "cc");'
    image, sources = build_with(statement, board, tmp_path)
    with pytest.raises(InternalError, match=r"layer `divide`|function `tiny_layer_1`"):
        emulate(image, sources, board)


def test_firmware_for_another_board(tmp_path: Path) -> None:
    sources = tiny_network.sources()
    image = build(sources, find_board("nucleo-l4r5zi"), tmp_path)
    with pytest.raises(Exception, match="expected a firmware for board cortex-m4"):
        emulate(image, sources, core_board("cortex-m4"))


def test_firmware_of_another_network(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board("cortex-m4")
    image = build(sources, board, tmp_path)
    with pytest.raises(InternalError, match="no function tiny_absent"):
        emulate(image, dataclasses.replace(sources, run_symbol="tiny_absent"), board)


@pytest.mark.parametrize(("reason", "message"), [(0x20023, "ended with an error"), (0x20026, "ended before")])
def test_end_inside_the_network(reason: int, message: str, tmp_path: Path) -> None:
    board = core_board("cortex-m4")
    statement = f"""register int op __asm("r0") = 0x18; register int why __asm("r1") = {reason};
                    __asm volatile("bkpt 0xab" :: "r"(op), "r"(why));"""
    image, sources = build_with(statement, board, tmp_path)
    with pytest.raises(ToolError, match=f"firmware: {message}"):
        emulate(image, sources, board)
