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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from midge.build.image import Image
from midge.build.zig import host_library
from midge.emit.sources import Sources
from midge.emulate.counter import BLOCK, NATIVE, TALLY
from midge.emulate.owners import layer_owners
from midge.emulate.pattern import pattern_inputs, sample_arrays, sample_bytes
from midge.emulate.program import load
from midge.emulate.report import layer_counts, with_memory
from midge.emulate.timing import Pipeline, cost
from midge.emulate.trace import Execution, Trace
from midge.errors import InternalError, ToolError, UnsupportedError
from midge.targets.records import Board

COMMAND, RISCV_COMMAND = "qemu-system-arm", "qemu-system-riscv32"
_PACKAGES = {COMMAND: "qemu-system-arm", RISCV_COMMAND: "qemu-system-misc"}
TIMEOUT_SECONDS = 1800
# QEMU 9.0 raised the oldest plugin interface that it loads from 0 to 2; what is used here did not change.
FIRST_MAJOR_OF_INTERFACE_2 = 9


def trace(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None) -> Trace:
    """One inference from reset, as `unicorn.trace`. UnsupportedError where the core has no timing table."""
    pipeline = Pipeline(board.core.name, board.core.timing)
    outputs, blocks, tallies, stack_bytes = _run(image, sources, board, inputs)
    counts = with_memory(cost(load(image.elf), blocks, len(tallies) - 1, pipeline), tallies, pipeline, board)
    layers = layer_counts(sources, counts)
    return Trace(outputs, sum(layer.instructions for layer in layers), sum(layer.cycles for layer in layers),
                 stack_bytes, layers, "qemu")  # fmt: skip


def execute(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None) -> Execution:
    """One inference from reset, for any core that QEMU has."""
    outputs, blocks, tallies, stack_bytes = _run(image, sources, board, inputs)
    counts = cost(load(image.elf), blocks, len(tallies) - 1, None)
    return Execution(outputs, sum(counts.instructions), stack_bytes, "qemu")


def _run(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None
         ) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray, int]:  # fmt: skip
    """Outputs, block records, tally records, stack bytes."""
    command, machine = command_of(board), _machine(board)
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
        firmware = ["-bios", "none"] if board.is_riscv else []
        _call([command, "-M", machine, *firmware, "-display", "none", "-serial", "none", "-monitor", "none",
               "-semihosting-config", "enable=on,target=native,arg=fw,arg=1,arg=in.bin,arg=out.bin",
               "-kernel", str(image.elf.resolve()), "-plugin", plugin], folder)  # fmt: skip
        outputs = sample_arrays(sources.outputs, (folder / "out.bin").read_bytes())
        return outputs, *_read((folder / "counts").read_bytes())


def _read(data: bytes) -> tuple[np.ndarray, np.ndarray, int]:
    full, stack_bytes, owner_count = struct.unpack_from("<III", data)
    if full:
        raise InternalError("qemu", "more blocks than the counter has room for")
    tallies = np.frombuffer(data, TALLY, owner_count + 1, 12)
    blocks = np.frombuffer(data, BLOCK, offset=12 + tallies.nbytes)
    return np.sort(blocks, order=["address", "bytes", "owner"]), tallies, stack_bytes


def command_of(board: Board) -> str:
    """QEMU's command for a board's core. ToolError where it is not installed."""
    if sys.platform == "win32":
        raise UnsupportedError("qemu", "QEMU on Windows loads no plugins, so nothing can be counted", "Linux or macOS")
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
