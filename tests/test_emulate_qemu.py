"""Unicorn against QEMU, an independent build of the same kind of emulator, and both against QEMU's own log."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_network

from midge.build import build
from midge.emulate import emulate, emulate_many, execute, fixed_pattern, qemu
from midge.emulate.program import load
from midge.errors import UnsupportedError
from midge.targets import core_board, find_board

pytestmark = pytest.mark.skipif(
    shutil.which(qemu.COMMAND) is None or sys.platform == "win32", reason="qemu-system-arm is not installed"
)
needs_gcc = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")

# Long straight code crosses the emulators' pages; loads and stores in IT blocks, unaligned accesses, library calls.
BUSY = """
__attribute__((noinline)) static void tiny_busy(int step)
{
    volatile int8_t *data = tiny_arena + 100;
    for (int i = 0; i < 40 + step; ++i) {
        if (data[i & 3] > step)
            data[(i + 1) & 3] ^= (int8_t)i;
        else
            data[i & 7] = (int8_t)(data[i & 3] / (i + 1));
        tiny_output_0()[step] = (int8_t)(tiny_output_0()[step] + (i % (step + 3) == 1 ? 3 : -1));
    }
    STRAIGHT
}
"""


def busy_network() -> tiny_network.Sources:
    straight = "\n".join(f"data[{i % 8}] = (int8_t)(data[{(i + 3) % 8}] + {i});" for i in range(600))
    head = "__attribute__((noinline)) static void tiny_layer_1"
    text = tiny_network.text().replace(head, BUSY.replace("STRAIGHT", straight) + head)
    head = "static void tiny_layer_1(int step)\n{"
    return tiny_network.sources(text.replace(head, f"{head}\n    tiny_busy(step);"))


@pytest.mark.parametrize("network", ["tiny", "busy"])
@pytest.mark.parametrize("cc", ["zig", pytest.param("gcc", marks=needs_gcc)])
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m33"])
def test_same_trace(core: str, cc: str, network: str, tmp_path: Path) -> None:
    sources = tiny_network.sources() if network == "tiny" else busy_network()
    board = core_board(core)
    image = build(sources, board, tmp_path, cc=cc)  # type: ignore[arg-type]
    ours, theirs = emulate(image, sources, board), emulate(image, sources, board, backend="qemu")
    assert ours.layers == theirs.layers
    assert (ours.instructions, ours.cycles) == (theirs.instructions, theirs.cycles)
    assert ours.stack_bytes == theirs.stack_bytes
    assert theirs.backend == "qemu"
    for a, b in zip(ours.outputs, theirs.outputs, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_same_count_as_the_log_of_single_steps(tmp_path: Path) -> None:
    """QEMU logs each instruction that it executes; those between entry and return of the run function are counted."""
    sources, board = tiny_network.sources(), core_board("cortex-m3")
    image = build(sources, board, tmp_path)
    command = [qemu.COMMAND, "-M", board.core.qemu_machine, "-display", "none", "-serial", "none", "-monitor", "none",
               "-semihosting-config", "enable=on,target=native,arg=fw", "-kernel", str(image.elf),
               "-d", "exec,nochain", "-D", str(tmp_path / "log")]  # fmt: skip
    helped = subprocess.run([qemu.COMMAND, "-help"], capture_output=True, text=True, check=True).stdout
    step = ["-singlestep"] if "-singlestep" in helped else ["-accel", "tcg,one-insn-per-tb=on"]
    subprocess.run([*command, *step], check=True, capture_output=True, timeout=120)
    addresses = [int(match, 16) for match in re.findall(r"\[\w+/(\w+)/", (tmp_path / "log").read_text())]
    program = load(image.elf)
    start = addresses.index(program.addresses[sources.run_symbol])
    end = addresses.index(program.addresses["harness_returned"] & ~1)
    assert emulate(image, sources, board).instructions == end - start


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m55"])
def test_cores_without_a_timing_table(core: str, tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board(core)
    image = build(sources, board, tmp_path)
    result = execute(image, sources, board, backend="qemu")
    for a, b in zip(result.outputs, tiny_network.reference(fixed_pattern(sources.inputs[0].type)), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    if board.core.unicorn_model:
        ours = execute(image, sources, board)
        assert (ours.instructions, ours.stack_bytes) == (result.instructions, result.stack_bytes)
    if not board.core.timing:
        trace = emulate(image, sources, board, backend="qemu")
        assert (trace.cycles, {layer.cycles for layer in trace.layers}) == (None, {None})
        assert (trace.instructions, trace.stack_bytes) == (result.instructions, result.stack_bytes)


def test_many_samples_in_one_run(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), core_board("cortex-m55")
    image = build(sources, board, tmp_path)
    x = fixed_pattern(sources.inputs[0].type)
    samples = [(x,), (np.roll(x, 1),), (-1 - x,)]
    counted: list[int] = []
    found = emulate_many(image, sources, board, samples, progress=counted.append, backend="qemu")
    assert counted == [3]
    assert emulate_many(image, sources, board, [], backend="qemu") == []
    for (sample,), outputs in zip(samples, found, strict=True):
        for a, b in zip(outputs, tiny_network.reference(sample), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def test_a_machine_with_less_memory_than_the_bare_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, board = tiny_network.sources(), core_board("cortex-m55")
    image = build(sources, board, tmp_path)
    monkeypatch.setitem(qemu.MACHINE_BYTES, "mps3-an547", {0x2000_0000: 512})
    message = r"takes \d,\d{3} bytes of the memory at 0x20000000; expected at most 512, as QEMU's mps3-an547"
    with pytest.raises(UnsupportedError, match=message):
        emulate(image, sources, board, backend="qemu")


def test_bare_armv8m_boots_in_secure_state(tmp_path: Path) -> None:
    """The machine reads its vectors at the Secure alias of address 0; the firmware is loaded there."""
    image = build(tiny_network.sources(), core_board("cortex-m33"), tmp_path)
    result = subprocess.run(
        [qemu.COMMAND, "-M", "mps2-an505", "-nographic", "-semihosting-config",
         "enable=on,target=native,arg=fw,arg=2", "-kernel", str(image.elf)],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    y, sums = tiny_network.reference(fixed_pattern(tiny_network.sources().inputs[0].type))
    expected = "".join(f"output {i}: {' '.join(map(str, a.ravel().tolist()))}\n" for i, a in enumerate((y, sums)))
    assert (result.stdout + result.stderr, result.returncode) == (expected, 0)


def test_faults_are_reported_by_the_firmware(tmp_path: Path) -> None:
    head = "static void tiny_layer_1(int step)\n{\n"
    text = tiny_network.text().replace(head, f"{head}    *(volatile int *)0x60000000 = step;\n")
    sources = tiny_network.sources(text)
    image = build(sources, core_board("cortex-m4"), tmp_path)
    result = subprocess.run(
        [qemu.COMMAND, "-M", "mps2-an386", "-nographic", "-semihosting-config", "enable=on,target=native,arg=fw",
         "-kernel", str(image.elf)],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    message = r"fault: pc=0x0000\w{4} lr=0x\w{8} cfsr=0x\w{8} bfar=0x60000000"
    assert re.search(message, result.stdout + result.stderr)


def test_only_bare_cores(tmp_path: Path) -> None:
    sources, board = tiny_network.sources(), find_board("arduino-nano-33-ble-sense")
    with pytest.raises(UnsupportedError, match="Use `--core cortex-m4`"):
        emulate(build(sources, board, tmp_path), sources, board, backend="qemu")
