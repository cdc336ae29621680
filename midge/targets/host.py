"""This computer as a target: where the emitted C runs natively, to put whole data sets through a network."""

from __future__ import annotations

import platform
from functools import cache

from midge.targets.records import Board, Core, Region

NAME = "host"
ROOM_BYTES = 1 << 31


@cache
def host_board() -> Board:
    """A board that stands for this computer. It is no board of `midge boards`: nothing is measured on it."""
    machine = platform.machine().lower() or "unknown"
    core = Core(
        name=machine,
        title=f"native {machine} code",
        architecture=machine,
        isas=("host", "portable"),
        zig_target="native",
        zig_cpu="native",
        gcc_flags=(),
        unicorn_model="",
        qemu_machine="",
        hardware_float=True,
        timing={},
        sources=(),
    )
    return Board(
        name=NAME,
        title="this computer",
        vendor="",
        mcu="",
        core=core,
        clock_hz=0,
        regions=(Region("flash", "flash", 0, ROOM_BYTES), Region("ram", "ram", ROOM_BYTES, ROOM_BYTES)),
        power=None,
        emulated="compile-only",
        sensors=(),
        packages=(),
        notes=("Clock rate unknown: a host library is for values, not for timing.",),
        sources=(),
    )
