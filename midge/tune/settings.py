"""What else than its own code decides how long a layer takes."""

from __future__ import annotations

from typing import Literal

from midge.build import gcc, zig
from midge.build.compiler import COMMON_FLAGS, NETWORK_FLAGS
from midge.build.firmware import OPTIMIZE_FLAGS
from midge.targets.records import Core

FORMAT = 1
"""Counted up when measurements made before are not comparable any more (a change of the emulator's cycle counts)."""


def settings_of(core: Core, cc: Literal["zig", "gcc"], optimize: str) -> str:
    """Compiler, flags and the measurements' format, as a part of their keys."""
    compiler = {"zig": zig.compiler, "gcc": gcc.compiler}[cc](core)
    flags = (*compiler.command[1:], *COMMON_FLAGS, *NETWORK_FLAGS, OPTIMIZE_FLAGS[optimize])
    return " ".join([str(FORMAT), compiler.title, *flags])
