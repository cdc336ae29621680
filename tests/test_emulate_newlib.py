"""A firmware as GCC and newlib make it: `midge profile` counts as many instructions as QEMU executes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from midge.emulate.profile import profile
from midge.targets import core_board, find_board

COMPILER, QEMU = "arm-none-eabi-gcc", "qemu-system-arm"
pytestmark = pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed")
LINKER_SCRIPT = """
MEMORY { FLASH (rx) : ORIGIN = %#x, LENGTH = 1M  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 512K }
SECTIONS
{
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) . = ALIGN(4);
              __init_array_start = .; KEEP(*(.init_array*)) __init_array_end = .;
              __fini_array_start = .; KEEP(*(.fini_array*)) __fini_array_end = .;
              __preinit_array_start = .; __preinit_array_end = .; } > FLASH
    .ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; } > FLASH
    .data : { data_begin = .; *(.data*) *(.fast*) . = ALIGN(4); data_end = .; } > RAM AT > FLASH
    data_values = LOADADDR(.data);
    .bss : { __bss_start__ = .; *(.bss*) *(COMMON) . = ALIGN(4); __bss_end__ = .; end = .; } > RAM
    stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
"""
# Start-up code with the FPU and the cycle counter; a constructor, a function in RAM, a switch, floats.
SOURCE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern uint32_t data_begin, data_end, data_values, __bss_start__, __bss_end__, stack_top;
extern void initialise_monitor_handles(void), __libc_init_array(void);
int main(int count, char **arguments);
void _init(void) {}
void _fini(void) {}

static void start(void)
{
    static char line[80];
    char *arguments[4], *word;
    int count = 0;
    struct { char *text; int size; } block = {line, sizeof line};
    register int operation __asm("r0") = 0x15;
    register void *argument __asm("r1") = &block;
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000u;
    *(volatile uint32_t *)0xE000EDFC |= 1u << 24;
    *(volatile uint32_t *)0xE0001000 |= 1u;
    __asm volatile("dsb; isb");
    memcpy(&data_begin, &data_values, (size_t)((char *)&data_end - (char *)&data_begin));
    memset(&__bss_start__, 0, (size_t)((char *)&__bss_end__ - (char *)&__bss_start__));
    initialise_monitor_handles();
    __libc_init_array();
    operation = 0x15;
    argument = &block;
    __asm volatile("bkpt 0xab" : "+r"(operation) : "r"(argument) : "memory");
    for (word = strtok(line, " "); word && count < 4; word = strtok(0, " "))
        arguments[count++] = word;
    exit(main(count, arguments));
}

__attribute__((section(".vectors"), used)) static const void *const vectors[] = {&stack_top, start};

static int16_t table[64];
__attribute__((constructor)) static void fill(void)
{
    for (int i = 0; i < 64; ++i)
        table[i] = (int16_t)(i * 37 - 900);
}

__attribute__((section(".fast"), noipa, long_call)) int dot(const int16_t *a, const int16_t *b)
{
    int sum = 0;
    for (int i = 0; i < 64; ++i)
        sum += a[i] * b[i];
    return sum;
}

__attribute__((noinline)) int pick(int value)
{
    switch (value % 6) {
    case 0: return 5;
    case 1: return value / 7;
    case 2: return value * 3;
    case 3: return -value;
    case 4: return value ^ 99;
    default: return 1;
    }
}

int main(int count, char **arguments)
{
    const int rounds = count > 1 ? atoi(arguments[1]) : 1;
    char *heap = malloc(1000);
    float mean = 0.0f;
    int sum = 0;
    for (int i = 0; i < 50 * rounds; ++i) {
        sum += dot(table, table) / 1000 + pick(i);
        mean += (float)sum / 100.0f;
    }
    printf("%d %.2f %s\n", sum, (double)mean, heap ? "heap" : "none");
    return 0;
}
"""


PLAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float arena[50000];

int main(int count, char **arguments)
{
    char *heap = malloc(100000);
    volatile unsigned *cycles = (unsigned *)0xE0001004, *timer = (unsigned *)0xE000E010;
    const unsigned start = *cycles;
    timer[1] = 999999;
    timer[0] = 5;
    while (*cycles - start < 100000 || !(timer[0] & 0x10000))
        ;
    memset(heap, 1, 100000);
    for (int i = 0; i < 50000; ++i)
        arena[i] = (float)heap[i] * 0.5f;
    printf("%d %s %d %d\n", count, arguments[1], (int)(arena[49999] * 10), *(unsigned *)0xE000ED00 == 0x410FC241);
    return 7;
}
"""


def firmware(folder: Path, flash: int) -> Path:
    (folder / "main.c").write_text(SOURCE, encoding="utf-8")
    (folder / "link.ld").write_text(LINKER_SCRIPT % flash, encoding="utf-8")
    elf = folder / f"newlib_{flash:x}.elf"
    done = subprocess.run(
        [COMPILER, "-O2", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "main.c",
         "-specs=rdimon.specs", "-nostartfiles", "-T", "link.ld", "-o", elf.name],
        cwd=folder, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if "rdimon.specs" in done.stderr:
        pytest.skip("GCC is here without newlib")
    assert done.returncode == 0, done.stderr
    return elf


def with_the_librarys_start(folder: Path) -> Path:
    """Without vectors, and with a stack where the host says that memory is free."""
    (folder / "plain.c").write_text(PLAIN, encoding="utf-8")
    elf = folder / "plain.elf"
    done = subprocess.run(
        [COMPILER, "-O2", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "plain.c",
         "-specs=nano.specs", "-specs=rdimon.specs", "-Wl,-Ttext-segment=0", "-Wl,-Tdata=0x20000000", "-o", elf.name],
        cwd=folder, check=False, capture_output=True, text=True,
    )  # fmt: skip
    if "rdimon.specs" in done.stderr or "nano.specs" in done.stderr:
        pytest.skip("GCC is here without newlib")
    assert done.returncode == 0, done.stderr
    return elf


def executed_by_qemu(elf: Path, *args: str) -> tuple[int, str]:
    """Instructions from reset to exit by QEMU's log of single steps, and what was printed."""
    command = shutil.which(QEMU)
    if command is None:
        pytest.skip(f"{QEMU} is not installed")
    helped = subprocess.run([command, "-help"], capture_output=True, text=True, check=True).stdout
    step = ["-singlestep"] if "-singlestep" in helped else ["-accel", "tcg,one-insn-per-tb=on"]
    arguments = "".join(f",arg={one}" for one in args)
    done = subprocess.run(
        [command, "-M", "mps2-an386", "-display", "none", "-serial", "none", "-monitor", "none", *step, "-d",
         "exec,nochain", "-D", f"{elf}.log", "-semihosting-config", f"enable=on,target=native{arguments}", "-kernel",
         str(elf)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return len(re.findall(r"^Trace", Path(f"{elf}.log").read_text(), re.MULTILINE)), done.stdout


def test_as_many_instructions_as_qemu(tmp_path: Path) -> None:
    elf = firmware(tmp_path, 0)
    more, printed = executed_by_qemu(elf, "fw", "2")
    less, _ = executed_by_qemu(elf, "fw", "1")
    found = profile(elf, core_board("cortex-m4"), "fw 2", "fw 1")
    assert (found.instructions, found.printed) == (more - less, printed)


def test_the_boards_memory_stands_before_both_addresses(tmp_path: Path) -> None:
    """Linked for the MPS2 machines or for the board: the same waits, and none for the function in RAM."""
    board = find_board("nucleo-l4r5zi")
    found = [profile(firmware(tmp_path, flash), board, "fw 2", "fw 1") for flash in (0, board.flash.base)]
    bare = profile(firmware(tmp_path, 0), core_board("cortex-m4"), "fw 2", "fw 1")
    counts = [{f.name: (f.instructions, f.cycles) for f in one.functions} for one in (*found, bare)]
    assert counts[0] == counts[1]
    assert counts[0]["dot"] == counts[2]["dot"] and counts[0]["dot"][0] > 50 * 64 * 4
    assert found[0].cycles > bare.cycles


def test_the_librarys_own_start(tmp_path: Path) -> None:
    """It asks for free memory, waits for two clocks, fills a heap and an arena, and returns a status."""
    found = profile(with_the_librarys_start(tmp_path), find_board("nucleo-l4r5zi"), "fw more")
    assert (found.printed, found.exit_status) == ("2 more 5 1\n", 7)
    assert {"main", "memset", "_malloc_r"} <= {function.name for function in found.functions}
