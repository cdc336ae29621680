"""The GNU compiler, where it is installed."""

from __future__ import annotations

import functools
import shutil

from midge.build.compiler import Compiler
from midge.build.tools import run_tool
from midge.errors import ToolError, UnsupportedError
from midge.targets.records import Core

COMMAND = "arm-none-eabi-gcc"


@functools.cache
def version(command: str) -> str:
    return run_tool([command, "-dumpfullversion"], "gcc").strip()


def compiler(core: Core) -> Compiler:
    """GNU GCC for a core. ToolError where it is not installed."""
    if core.is_riscv:
        raise UnsupportedError(f"core {core.name}", "Midge knows no GNU compiler for it", "zig", "Leave out `--cc gcc`")
    command = shutil.which(COMMAND)
    if command is None:
        raise ToolError(
            f"core {core.name}", f"`{COMMAND}` not found", "it on PATH",
            "Install the Arm GNU toolchain (Debian: gcc-arm-none-eabi; macOS: brew install --cask gcc-arm-embedded; "
            "Windows: developer.arm.com), or leave out `--cc gcc` to use zig",
        )  # fmt: skip
    return Compiler(
        title=f"{COMMAND} {version(command)}",
        command=(COMMAND, *core.gcc_flags),
        compile_flags=(),
        link_flags=("-nostdlib", "-Wl,--start-group", "-lc", "-lgcc", "-lm", "-Wl,--end-group"),
    )
