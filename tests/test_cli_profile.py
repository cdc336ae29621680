"""`midge profile` on firmware that Midge made, and on a firmware written by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import DIGITS, NANO, midge

from midge import targets

LINKER_SCRIPT = """
PHDRS { code PT_LOAD; data PT_LOAD; }
SECTIONS
{
    .text 0x%x : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } :code
    .bss 0x20000000 (NOLOAD) : { *(.bss*) *(COMMON) } :data
    /DISCARD/ : { *(.ARM.exidx*) }
}
"""
# It does `work` as often as its command line has characters, and `more` once; then it prints "done" and ends.
FIRMWARE = r"""
    .syntax unified
    .thumb
    .section .vectors, "a"
    .word 0x20001000
    .word reset
    .text
    .macro function name
    .balign 4
    .global \name
    .type \name, %function
    .thumb_func
\name:
    .endm

    function work
    nop
    nop
    bx lr
    .size work, . - work

    function more
    ldr r0, [sp]
    bx lr
    .size more, . - more

    function reset
    movs r0, #0x15
    ldr r1, =block
    ldr r2, =text
    str r2, [r1]
    movs r2, #64
    str r2, [r1, #4]
    bkpt 0xab
    ldr r1, =block
    ldr r4, [r1, #4]
1:  cmp r4, #0
    beq 2f
    bl work
    subs r4, #1
    b 1b
2:  sub sp, #8
    bl more
    movs r0, #4
    ldr r1, =message
    bkpt 0xab
    movs r0, #0x18
    ldr r1, =0x20026
    bkpt 0xab
    b .
    .ltorg
    .size reset, . - reset
    .section .rodata
message:
    .asciz "done\n"
    .bss
    .balign 4
block: .space 8
text: .space 64
"""


def hand_made(folder: Path, flash: int = 0, text: str = FIRMWARE, name: str = "by_hand.elf", *flags: str) -> Path:
    """The firmware above, linked for flash at this address."""
    (folder / "firmware.S").write_text(text, encoding="utf-8")
    (folder / "firmware.ld").write_text(LINKER_SCRIPT % flash, encoding="utf-8")
    elf = folder / name
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4", "-nostdlib",
         "-Wl,-T,firmware.ld", *flags, "firmware.S", "-o", elf.name],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return elf


def cycles_of(found: dict[str, object], name: str) -> tuple[int, int]:
    """Instructions and cycles of one function."""
    functions = found["functions"]
    assert isinstance(functions, list)
    (function,) = (function for function in functions if function["name"] == name)
    return function["instructions"], function["cycles"]


def test_hand_made_firmware_is_counted_by_function(tmp_path: Path) -> None:
    outcome = midge("profile", hand_made(tmp_path), "--core", "cortex-m4", "--args", "abc", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = outcome.object
    assert (found["firmware"], found["board"], found["args"], found["minus_args"]) == (
        "by_hand.elf", "cortex-m4", "abc", None)  # fmt: skip
    # Two NOPs and a return, three times; a load and a return (docs/timing.md).
    assert cycles_of(found, "work") == (9, 3 * (1 + 1 + 3))
    assert cycles_of(found, "more") == (2, 2 + 3)
    assert found["printed"] == "done\n"
    functions = found["functions"]
    assert found["instructions"] == sum(function["instructions"] for function in functions)
    assert found["cycles"] == sum(function["cycles"] for function in functions)
    assert found["latency_ms"] == pytest.approx(found["cycles"] / found["clock_hz"] * 1e3)
    assert "estimate" in found["timing_note"]


def test_second_run_is_subtracted(tmp_path: Path) -> None:
    elf = hand_made(tmp_path)
    found = midge("profile", elf, "--core", "cortex-m4", "--args", "abcd", "--minus-args", "abc", "--json").object
    assert cycles_of(found, "work") == (3, 5)
    # Of the caller there remains one round: compare, branch not taken, call, subtract, branch back.
    assert cycles_of(found, "reset") == (5, 1 + 1 + 3 + 1 + 3)
    assert {function["name"] for function in found["functions"]} == {"work", "reset"}


def test_firmware_runs_at_its_own_addresses(tmp_path: Path) -> None:
    """Of a board, and of a bare core: then with the board's core, clock and caches."""
    board = targets.find_board("nucleo-l4r5zi")
    bare = midge("profile", hand_made(tmp_path), "--core", "cortex-m4", "--args", "a", "--json").object
    for flash in (0, board.flash.base):
        found = midge("profile", hand_made(tmp_path, flash), "--board", board.name, "--args", "a", "--json").object
        assert found["clock_hz"] == 120_000_000 and found["instructions"] == bare["instructions"]
        assert found["cycles"] > bare["cycles"]
    assert "caches of 1 KB for code" in found["timing_note"] and "error: -2.1 to +3.1 %" in found["timing_note"]
    # At addresses of neither: 0x10000000 is no memory of the board.
    found = midge("profile", hand_made(tmp_path, 0x10000000), "--board", board.name, "--args", "a", "--json").object
    assert (found["instructions"], found["printed"]) == (bare["instructions"], "done\n")
    stack_in_flash = FIRMWARE.replace("0x20001000", "0x10001000")
    refused = midge("profile", hand_made(tmp_path, 0x10000000, stack_in_flash), "--core", "cortex-m4")
    assert refused.status == 2 and "no way to tell its flash from its RAM" in refused.err


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m33"])
def test_midges_firmware_profiles_as_it_runs(core: str, tmp_path: Path) -> None:
    assert midge("compile", DIGITS, "--core", core, "-o", tmp_path).status == 0
    ran = midge("run", DIGITS, "--core", core, "--json").object
    outcome = midge("profile", tmp_path / "firmware.elf", "--core", core, "--args", "fw 2", "--minus-args", "fw 1",
                    "--json")  # fmt: skip
    assert outcome.status == 0, outcome.err
    found = outcome.object
    harness = [f for f in found["functions"] if f["name"].startswith(("harness_", "host_"))]
    assert found["instructions"] - sum(f["instructions"] for f in harness) == ran["instructions"]
    assert found["cycles"] - sum(f["cycles"] for f in harness) == pytest.approx(ran["cycles"], abs=20)


def test_text_names_functions_and_basis(tmp_path: Path) -> None:
    out = midge("profile", hand_made(tmp_path), "--core", "cortex-m33", "--args", "a", "--minus-args", "").out
    text = " ".join(out.split())  # as wide as the terminal is
    assert "by_hand.elf on Arm Cortex-M33" in text and "work" in text and "`a`, minus ``" in text
    assert "measurements of instructions on an RP2350" in text and "unknown for networks" in text


def test_run_names_the_basis_of_its_table() -> None:
    note = midge("run", DIGITS, "--core", "cortex-m33", "--json").object["timing_note"]
    assert "measurements of instructions on an RP2350" in note and "error: unknown" in note
    assert "error: -2.1 to +3.1 %" in midge("run", DIGITS, "--board", "nucleo-l4r5zi", "--json").object["timing_note"]


def test_refusals(tmp_path: Path) -> None:
    elf = hand_made(tmp_path)
    text = tmp_path / "text.elf"
    text.write_text("no firmware", encoding="utf-8")
    cases = [
        (2, "no such file", tmp_path / "none.elf", "--core", "cortex-m4"),
        (2, "is a folder", tmp_path, "--core", "cortex-m4"),
        (2, "not an ELF file", text, "--core", "cortex-m4"),
        (2, "none given", elf),
        (2, "both given", elf, *NANO, "--core", "cortex-m4"),
        (4, "no model of it", elf, "--core", "cortex-m55"),
    ]
    for status, said, *arguments in cases:
        outcome = midge("profile", *arguments, "--json")
        assert (outcome.status, outcome.out) == (status, ""), outcome.err
        assert outcome.err.startswith("midge: error: ") and said in outcome.err and outcome.err.count("\n") == 1


def test_stripped_firmware_is_counted_by_segments(tmp_path: Path) -> None:
    named = midge("profile", hand_made(tmp_path), *NANO, "--args", "abc", "--json").object
    elf = hand_made(tmp_path, 0, FIRMWARE, "stripped.elf", "-Wl,--strip-all")
    headless = tmp_path / "headless.elf"
    content = bytearray(elf.read_bytes())
    content[32:36], content[46:52] = bytes(4), bytes(6)  # where the section headers are, their size and number
    headless.write_bytes(content)
    for path in (elf, headless):
        found = midge("profile", path, *NANO, "--args", "abc", "--json").object
        assert [function["name"] for function in found["functions"]] == ["code at 0x00000000"]
        assert (found["instructions"], found["cycles"]) == (named["instructions"], named["cycles"])


def test_what_the_firmware_returns(tmp_path: Path) -> None:
    """A status is reported; a reason that is no application's exit is an error."""
    for reason, status in ((3, 3), (0x20026, 0)):
        text = FIRMWARE.replace("0x20026", f"{reason:#x}")
        found = midge("profile", hand_made(tmp_path, 0, text), "--core", "cortex-m4", "--json").object
        assert (found["exit_status"], found["printed"]) == (status, "done\n")
    outcome = midge("profile", hand_made(tmp_path, 0, FIRMWARE.replace("0x20026", "0x20023")), "--core", "cortex-m4")
    assert outcome.status == 5 and "broke off: done" in outcome.err


def test_fault_names_the_function(tmp_path: Path) -> None:
    # `more` loads from an address at which there is nothing.
    elf = hand_made(tmp_path, 0, FIRMWARE.replace("ldr r0, [sp]", "ldr r0, [r4, #-4]"))
    outcome = midge("profile", elf, "--core", "cortex-m4")
    assert outcome.status == 5 and "function `more`" in outcome.err and "0xfffffffc" in outcome.err


def test_firmware_as_c_libraries_start_it(tmp_path: Path) -> None:
    """It turns on a cycle counter, looks at the trace unit, asks for the time and for the host's features."""
    calls = """    ldr r0, =0xE0001000
    movs r1, #1
    str r1, [r0]
    ldr r2, [r0, #8]
    ldr r0, =0xE0000E80
    ldr r1, [r0]
    orrs r1, r2
    beq 8f
    udf #0
8:
    movs r0, #0x10
    bkpt 0xab
    cmp r0, #1
    beq 8f
    udf #0
8:
    movs r0, #0x30
    ldr r1, =block
    bkpt 0xab
    ldr r0, [r1]
    ldr r2, =20000
    cmp r0, r2
    beq 8f
    udf #0
8:
    ldr r1, =features
    movs r0, #0x01
    bkpt 0xab
    cmp r0, #1
    beq 8f
    udf #0
8:
"""
    text = FIRMWARE.replace("2:  sub sp, #8\n    bl more\n", f"2:  sub sp, #8\n    bl more\n{calls}")
    text = text.replace(
        "message:\n", 'features: .word name, 0, 21\nname: .asciz ":semihosting-features"\n.balign 4\nmessage:\n'
    )
    found = midge("profile", hand_made(tmp_path, 0, text), "--core", "cortex-m4", "--args", "a", "--json").object
    assert calls in text and found["printed"] == "done\n"


COPY = """
    ldr r0, =work
    bic r0, #1
    ldr r1, =copy
    ldm r0, {r2, r3}
    stm r1, {r2, r3}
    orr r5, r1, #1
"""


def test_code_that_the_firmware_copies_to_ram(tmp_path: Path) -> None:
    """It counts for the function that calls it, as much as it would in flash, and waits for no flash."""
    text = FIRMWARE.replace("1:  cmp r4, #0", f"{COPY}1:  cmp r4, #0").replace("bl work", "blx r5")
    elf = hand_made(tmp_path, 0, text.replace("block: .space 8", "copy: .space 8\nblock: .space 8"))
    for board in (("--core", "cortex-m4"), ("--board", "nucleo-l4r5zi")):
        found = midge("profile", elf, *board, "--args", "abcd", "--minus-args", "abc", "--json").object
        assert cycles_of(found, "reset") == (5 + 3, (1 + 1 + 3 + 1 + 3) + (1 + 1 + 3))


def test_firmware_without_a_vector_table(tmp_path: Path) -> None:
    """It starts where its ELF says, with the stack at the end of the RAM."""
    text = FIRMWARE.replace("    .word 0x20001000\n    .word reset\n", "    .word 0\n    .word 0\n")
    found = midge("profile", hand_made(tmp_path, 0, text, "by_hand.elf", "-Wl,-e,reset"), "--core", "cortex-m4",
                  "--args", "a", "--json").object  # fmt: skip
    assert found["printed"] == "done\n" and cycles_of(found, "work") == (3, 5)
