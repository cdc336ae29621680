"""The same counts from QEMU, where it is installed: for cores that Unicorn has not, and to check one by the other.

Counting is a plugin of QEMU (`native/qemu_counter.c`), compiled once per computer. QEMU loads plugins on Linux and
macOS only. Its machines have the memory map of bare cores (`--core`).
"""

from __future__ import annotations

import functools
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from midge.build.image import Image
from midge.build.zig import host_library
from midge.emit.sources import Sources
from midge.emulate.counter import BLOCK, NATIVE, TALLY
from midge.emulate.owners import layer_owners
from midge.emulate.pattern import pattern_inputs, sample_arrays, sample_bytes
from midge.emulate.program import load
from midge.emulate.report import layer_counts, total_cycles, with_memory
from midge.emulate.timing import Pipeline, cost
from midge.emulate.trace import Execution, Trace
from midge.errors import InternalError, ToolError, UnsupportedError
from midge.targets.records import Board

COMMAND, RISCV_COMMAND = "qemu-system-arm", "qemu-system-riscv32"
_PACKAGES = {COMMAND: "qemu-system-arm", RISCV_COMMAND: "qemu-system-misc"}
TIMEOUT_SECONDS = 1800
# QEMU 9.0 raised the oldest plugin interface that it loads from 0 to 2; what is used here did not change.
FIRST_MAJOR_OF_INTERFACE_2 = 9
MACHINE_BYTES = {"mps3-an547": {0x0000_0000: 512 << 10, 0x2000_0000: 512 << 10}}
"""Machines with less than a bare core's memory, by base address (QEMU's hw/arm/mps2-tz.c: ITCM and DTCM)."""


def trace(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None) -> Trace:
    """One inference from reset, as `unicorn.trace`; without cycles where the core has no timing table."""
    pipeline = Pipeline(board.core.name, board.core.timing) if board.core.timing else None
    outputs, blocks, tallies, stack_bytes = _run(image, sources, board, inputs)
    counts = cost(load(image.elf), blocks, len(tallies) - 1, pipeline)
    if pipeline is not None:
        counts = with_memory(counts, tallies, pipeline, board)
    layers = layer_counts(sources, counts, has_cycles=pipeline is not None)
    instructions = sum(layer.instructions for layer in layers)
    return Trace(outputs, instructions, total_cycles(layers), stack_bytes, layers, "qemu")


def execute(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None) -> Execution:
    """One inference from reset, for any core that QEMU has."""
    outputs, blocks, tallies, stack_bytes = _run(image, sources, board, inputs)
    counts = cost(load(image.elf), blocks, len(tallies) - 1, None)
    return Execution(outputs, sum(counts.instructions), stack_bytes, "qemu")


def outputs(image: Image, sources: Sources, board: Board, samples: Sequence[Sequence[np.ndarray]],
            progress: Callable[[int], None] | None = None) -> list[tuple[np.ndarray, ...]]:  # fmt: skip
    """The outputs of many inferences in one run of QEMU, as `unicorn.outputs`; nothing is counted."""
    if not samples:
        return []
    size = sum(port.bytes for port in sources.outputs)
    with tempfile.TemporaryDirectory(prefix="midge-") as temporary:
        folder = Path(temporary)
        (folder / "in.bin").write_bytes(b"".join(sample_bytes(sources.inputs, sample) for sample in samples))
        _call(_machine_command(image, board, len(samples)), folder)
        data = (folder / "out.bin").read_bytes()
    if progress is not None:  # QEMU does not say how far it is
        progress(len(samples))
    return [sample_arrays(sources.outputs, data[i * size : (i + 1) * size]) for i in range(len(samples))]


def _machine_command(image: Image, board: Board, samples: int) -> list[str]:
    """QEMU with the firmware, which reads `in.bin` and writes `out.bin` in the working folder."""
    _check_memory(image, board)
    semihosting = f"enable=on,target=native,arg=fw,arg={samples},arg=in.bin,arg=out.bin"
    firmware = ["-bios", "none"] if board.is_riscv else []
    return [command_of(board), "-M", _machine(board), *firmware, "-display", "none", "-serial", "none",
            "-monitor", "none", "-semihosting-config", semihosting, "-kernel", str(image.elf.resolve())]  # fmt: skip


def _run(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None
         ) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray, int]:  # fmt: skip
    """Outputs, block records, tally records, stack bytes."""
    _check_plugins()
    command = command_of(board)
    program = load(image.elf)
    owners = layer_owners(program, sources)
    data = sample_bytes(sources.inputs, pattern_inputs(sources) if inputs is None else inputs)
    with tempfile.TemporaryDirectory(prefix="midge-") as temporary:
        folder = Path(temporary)
        (folder / "in.bin").write_bytes(data)
        head = struct.pack("<II", len(owners.ranges), len(owners.names))
        head += b"".join(struct.pack("<II", *one) for one in owners.ranges)
        code = b"".join(program.code(*one) for one in owners.ranges)
        (folder / "map").write_bytes(head + owners.table.astype("<u2").tobytes() + code)
        addresses = program.addresses
        # On RISC-V the harness takes the next multiple of 16.
        stack = addresses["harness_network_stack_top"] & (~15 if board.is_riscv else ~0)
        plugin = (
            f"{_plugin(command)},isa={program.machine},run={addresses[sources.run_symbol]:#x},"
            f"return={addresses['harness_returned'] & ~1:#x},stack={stack:#x},map=map,out=counts"
        )
        _call([*_machine_command(image, board, 1), "-plugin", plugin], folder)
        outputs = sample_arrays(sources.outputs, (folder / "out.bin").read_bytes())
        return outputs, *_read((folder / "counts").read_bytes())


def _read(data: bytes) -> tuple[np.ndarray, np.ndarray, int]:
    full, stack_bytes, owner_count = struct.unpack_from("<III", data)
    if full:
        raise InternalError("qemu", "more blocks than the counter has room for")
    tallies = np.frombuffer(data, TALLY, owner_count + 1, 12)
    blocks = np.frombuffer(data, BLOCK, offset=12 + tallies.nbytes)
    return np.sort(blocks, order=["address", "bytes", "owner"]), tallies, stack_bytes


def _check_memory(image: Image, board: Board) -> None:
    """Guard: QEMU itself would only say that the core is locked up."""
    sizes = MACHINE_BYTES.get(board.core.qemu_machine, {})
    for segment in load(image.elf).segments:
        for base, size in sizes.items():
            end = segment.address + segment.memory_bytes
            if base <= segment.address < base + board.flash.bytes and end > base + size:
                raise UnsupportedError(
                    f"core {board.core.name}", f"the firmware takes {end - base:,} bytes of the memory at {base:#x}",
                    f"at most {size:,}, as QEMU's {board.core.qemu_machine} has no more",
                    "Compile it without running it, or run it on --core cortex-m7",
                )  # fmt: skip


def _check_plugins() -> None:
    if sys.platform == "win32":
        raise UnsupportedError("qemu", "QEMU on Windows loads no plugins, so nothing can be counted", "Linux or macOS")


def command_of(board: Board) -> str:
    """QEMU's command for a board's core. ToolError where it is not installed."""
    name = RISCV_COMMAND if board.is_riscv else COMMAND
    command = shutil.which(name)
    if command is None:
        raise ToolError("qemu", f"`{name}` not found", "it on PATH",
                        f"Install QEMU (Debian: {_PACKAGES[name]}; macOS: brew install qemu)")  # fmt: skip
    return command


def _machine(board: Board) -> str:
    if not board.core.qemu_machine:
        raise UnsupportedError(f"core {board.core.name}", "QEMU has no machine with it")
    if board.name != board.core.name:
        raise UnsupportedError(
            f"board {board.name}", "QEMU has not its memory map", "a bare core", f"Use `--core {board.core.name}`"
        )
    return board.core.qemu_machine


@functools.cache
def _plugin(command: str) -> Path:
    version = re.search(r"version (\d+)\.", _call([command, "--version"], None))
    interface = 2 if version is not None and int(version[1]) >= FIRST_MAJOR_OF_INTERFACE_2 else 1
    undefined = ("-Wl,-undefined,dynamic_lookup",) if sys.platform == "darwin" else ("-Wl,-z,undefs",)
    return host_library(NATIVE / "qemu_counter.c", flags=(f"-DPLUGIN_VERSION={interface}", *undefined))


def _call(command: list[str], cwd: Path | None) -> str:
    try:
        result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False,
                                timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError("qemu", str(error), "a run that ends well") from error
    if result.returncode != 0:
        raise ToolError("qemu", f"exit status {result.returncode}: {(result.stdout + result.stderr).strip()}")
    return result.stdout + result.stderr
