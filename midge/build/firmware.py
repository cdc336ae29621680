"""Sources -> Image: compile the network and the test harness, link them for a board, measure."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jinja2

from midge.build import gcc, zig
from midge.build.compiler import HARNESS_FLAGS, NETWORK_FLAGS, Compiler
from midge.build.image import Image
from midge.build.sizes import ObjectBytes, does_not_fit, firmware_bytes, object_bytes
from midge.build.stack import stack_bound
from midge.emit.sources import Port, Sources
from midge.errors import ToolError, UnsupportedError, UsageError
from midge.ir.types import DType
from midge.targets.records import Board

HARNESS = Path(__file__).parent / "harness"
ELF_NAME = "firmware.elf"
# The harness calls nothing deep and keeps its buffers out of the stack; measured at 140 bytes at most.
HARNESS_STACK_BYTES = 256
MOST_STACK_BYTES = 8192
LEAST_STACK_BYTES = 1024
SECURE_ALIAS = 0x1000_0000
# What takes time is in assembly where there is any; elsewhere the plan's C is worth the flash only for latency.
OPTIMIZE_FLAGS = {"latency": "-O2", "ram": "-Oz", "flash": "-Oz"}
_OVERFLOW = re.compile(r"region '?`?(\w+)'?.*overflowed by (\d+) bytes")


def build(sources: Sources, board: Board, directory: Path, *, cc: Literal["zig", "gcc"] = "zig",
          optimize: str = "latency") -> Image:  # fmt: skip
    """Compile and link the test firmware into `directory`, beside the sources it was made from.

    Nothing is left behind where it fails. DoesNotFitError where the board is too small; ToolError with the
    compiler's own message where it refuses.
    """
    if optimize not in OPTIMIZE_FLAGS:
        raise UsageError("optimize", f"`{optimize}`", " or ".join(OPTIMIZE_FLAGS))
    if not board.core.architecture.startswith(("armv6-m", "armv7-m", "armv7e-m", "armv8-m", "armv8.1-m", "rv32")):
        raise UnsupportedError(
            f"core {board.core.name}", "no test firmware for this architecture yet", "Arm Cortex-M or 32-bit RISC-V"
        )
    compiler = {"zig": zig.compiler, "gcc": gcc.compiler}[cc](board.core)
    _check_memories(sources, board)
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".midge-", dir=directory.parent) as temporary:
        job = _Job(sources, board, compiler, OPTIMIZE_FLAGS[optimize], Path(temporary))
        job.write()
        job.link(job.compile())
        sizes = firmware_bytes(job.folder / ELF_NAME, f"{sources.prefix}_arena", sources.arena_bytes)
        stack = stack_bound(job.folder / ELF_NAME, sources.run_symbol)
        _publish(job, directory)
    return Image(directory / ELF_NAME, sizes.flash, sizes.arena, sizes.static, compiler.title, stack)


def _check_memories(sources: Sources, board: Board) -> None:
    """What is known before any compiler runs."""
    if sources.weight_bytes > board.flash.bytes:
        raise does_not_fit(board.name, "flash", sources.weight_bytes, board.flash.bytes, "the weights alone", "")
    if sources.arena_bytes + LEAST_STACK_BYTES > board.ram.bytes:
        parts = f"arena {sources.arena_bytes}, stack at least {LEAST_STACK_BYTES}"
        needed = sources.arena_bytes + LEAST_STACK_BYTES
        raise does_not_fit(board.name, "RAM", needed, board.ram.bytes, parts, "")


@dataclass(slots=True)
class _Job:
    """One build, in a folder of its own."""

    sources: Sources
    board: Board
    compiler: Compiler
    optimize_flag: str
    folder: Path

    def write(self) -> None:
        """The network's files, and the harness filled in for its ports and the board."""
        for name, text in self.sources.files.items():
            _write(self.folder / name, text)
        (self.folder / "harness" / "include").mkdir(parents=True)
        for path in sorted(HARNESS.rglob("*.[ch]")):
            _write(self.folder / "harness" / path.relative_to(HARNESS), path.read_text(encoding="utf-8"))
        self.render("main.c", "main.c.j2", header=self.sources.header, inputs=self.inputs(),
                    input_rows=self.sources.input_rows,
                    outputs=[_port(port) for port in self.sources.outputs], run_symbol=self.sources.run_symbol,
                    init_symbol=self.sources.init_symbol)  # fmt: skip
        start = "start_riscv.c" if self.board.is_riscv else "start.c"
        self.render("start.c", f"{start}.j2", hardware_float=self.board.core.hardware_float,
                    ram_base=self.board.ram.base, ram_bytes=self.board.ram.bytes)  # fmt: skip

    def inputs(self) -> list[dict[str, object]]:
        """What the harness writes before a call: all inputs, or the row that is pushed."""
        ports = [_port(port) for port in self.sources.inputs]
        return [{**ports[0], "bytes": self.sources.input_row_bytes}] if self.sources.input_rows else ports

    def render(self, name: str, template: str, **values: object) -> None:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HARNESS), undefined=jinja2.StrictUndefined, trim_blocks=True,
            lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
        )  # fmt: skip
        _write(self.folder / "harness" / name, environment.get_template(template).render(**values))

    def objects(self) -> tuple[dict[str, str], dict[str, str]]:
        """Object file of each unit: those of the network, those of the harness."""
        network = {unit: f"network-{unit.replace('.', '-')}.o" for unit in self.sources.units}
        harness = {f"harness/{name}": f"harness-{name[:-2]}.o" for name in ("start.c", "host.c", "main.c")}
        return network, harness

    def commands(self) -> list[list[str]]:
        network, harness = self.objects()
        flags = (*NETWORK_FLAGS, self.optimize_flag)
        return [self.compiler.compile_command(unit, out, flags) for unit, out in network.items()] + [
            self.compiler.compile_command(unit, out, (*HARNESS_FLAGS, "-I.")) for unit, out in harness.items()
        ]

    def compile(self) -> ObjectBytes:
        """Compile all units at once, each in its own process; return what the network's take."""
        commands = self.commands()
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(lambda command: self.compiler.run(command, "compiling", self.folder), commands))
        network, _ = self.objects()
        return object_bytes(self.folder / name for name in network.values())

    def link(self, needs: ObjectBytes) -> None:
        network, harness = self.objects()
        board = self.board
        self.render("link.ld", "link.ld.j2", board=board.name, network=list(network.values()),
                    harness=list(harness.values()), flash_base=board.flash.base,
                    flash_bytes=board.flash.bytes, ram_base=board.ram.base, ram_bytes=board.ram.bytes,
                    stack_bytes=self.stack_bytes(needs),
                    harness_stack_bytes=self.harness_stack_bytes(), load_offset=load_offset(board))  # fmt: skip
        command = self.compiler.link_command((*network.values(), *harness.values()), "harness/link.ld", ELF_NAME)
        try:
            self.compiler.run(command, "linking", self.folder)
        except ToolError as error:
            if (overflow := _OVERFLOW.search(str(error))) is None:
                raise
            raise self.overflow(overflow[1], int(overflow[2]), needs) from error
        # Without the path of this Python, so that the folder says nothing of the computer it was made on.
        lines = [" ".join(line).replace(sys.executable, "python", 1) for line in [*self.commands(), command]]
        _write(self.folder / "harness" / "commands.txt", "\n".join(["# Run in the folder above.", *lines, ""]))

    def harness_stack_bytes(self) -> int:
        """What the harness keeps of the stack: a compiler may hold the address of each port in its frame."""
        return HARNESS_STACK_BYTES + 8 * (len(self.sources.inputs) + len(self.sources.outputs))

    def stack_bytes(self, needs: ObjectBytes) -> int:
        """All that is left of the RAM, within bounds; a multiple of 8."""
        _, harness = self.objects()
        harness_ram = object_bytes(self.folder / name for name in harness.values()).ram
        # Each of the sections that follow the stack may lose up to 7 bytes to alignment.
        left = self.board.ram.bytes - needs.ram - harness_ram - 4 * 8
        return max(LEAST_STACK_BYTES, min(MOST_STACK_BYTES, left)) // 8 * 8

    def overflow(self, memory: str, excess: int, needs: ObjectBytes) -> Exception:
        """What the linker said of a region, in our words."""
        region = self.board.flash if memory == "flash" else self.board.ram
        if memory == "flash":
            parts = f"code and constants of the network {needs.flash}; the rest is the test harness and library code"
        else:
            parts = f"network {needs.ram}, of which arena {self.sources.arena_bytes}; stack {self.stack_bytes(needs)}"
        name = "flash" if memory == "flash" else "RAM"
        largest = needs.largest(writable=memory != "flash")
        return does_not_fit(self.board.name, name, region.bytes + excess, region.bytes, parts, largest)


def load_offset(board: Board) -> int:
    """How far from its addresses the firmware is loaded.

    The bare Armv8-M core is QEMU's mps2-an505, which boots in Secure state and reads its vectors at 0x10000000,
    the Secure alias of the memory at 0.
    """
    return SECURE_ALIAS if board.core.architecture == "armv8-m.main" and board.flash.base == 0 else 0


def _port(port: Port) -> dict[str, object]:
    """What the harness must know of a port."""
    dtype = port.type.dtype
    kind = "FLOAT" if dtype.is_float else "BOOL" if dtype is DType.BOOL else dtype.name.startswith("U") and "UNSIGNED"
    return {"accessor": port.accessor, "bytes": port.bytes, "element_bytes": dtype.bytes,
            "kind": f"PORT_{kind or 'SIGNED'}"}  # fmt: skip


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _publish(job: _Job, directory: Path) -> None:
    """Move the finished files to their place, the firmware last; other files there stay."""
    kept = [*job.sources.files, *_names(job.folder, "harness"), ELF_NAME]
    try:
        for name in kept:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (job.folder / name).replace(directory / name)
    except OSError as error:
        raise UsageError(str(directory), f"cannot be written: {error}", "a folder that can") from error


def _names(folder: Path, under: str) -> Iterable[str]:
    files = (path for path in (folder / under).rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)
