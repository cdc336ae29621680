"""A C compiler for a core, as a record: what to call, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from midge.build.tools import run_tool

# No contraction: a fused multiply-add rounds once where the reference rounds twice.
COMMON_FLAGS = (
    "-std=c11", "-ffunction-sections", "-fdata-sections", "-fomit-frame-pointer", "-ffp-contract=off", "-fno-common",
    "-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-fno-ident", "-g0",
)  # fmt: skip
NETWORK_FLAGS = ("-Wall", "-Wextra", "-Wconversion")
# The harness may call no library function: what is called belongs to the network.
HARNESS_FLAGS = (
    "-O2", "-ffreestanding", "-fno-builtin", "-fno-jump-tables", "-fno-tree-vectorize", "-fno-tree-slp-vectorize",
    "-Wall", "-Wextra", "-Wno-unused-parameter",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compiler:
    """`command` compiles for the core when given flags and files; `link_flags` follow the objects when linking."""

    title: str
    """Name and version."""
    command: tuple[str, ...]
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]

    def compile_command(self, source: str, object_: str, flags: tuple[str, ...]) -> list[str]:
        return [*self.command, *COMMON_FLAGS, *self.compile_flags, *flags, "-c", source, "-o", object_]

    def link_command(self, objects: tuple[str, ...], script: str, elf: str) -> list[str]:
        return [*self.command, *objects, "-nostartfiles", "-Wl,--gc-sections", "-Wl,-e,harness_reset",
                f"-Wl,-T,{script}", *self.link_flags, "-o", elf]  # fmt: skip

    def run(self, command: list[str], what: str, cwd: Path) -> str:
        return run_tool(command, what, cwd)
