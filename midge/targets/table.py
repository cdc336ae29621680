"""Writes docs/boards.md: `python -m midge.targets.table docs/boards.md` (without a file: to standard output)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from midge.targets import boards, core_board, cores
from midge.targets.records import Board, Region

HEADER = """\
# Boards and cores

<!-- Written by `python -m midge.targets.table docs/boards.md` from midge/targets/. Do not edit. -->

What Midge knows of the hardware. Each board and each core is one TOML file; `docs/adding.md` shows how to add one.
`midge boards` prints the same limits, `midge boards NAME` one of them.

- **Flash** and **RAM** are what a network may use on a board without a boot loader; the notes say what one takes.
- **Emulated**: `unicorn` runs the firmware with what `pip install` brings; `qemu` needs QEMU;
  `planned` boards are described, but Midge makes no firmware for them yet.
- **Cycles**: whether the core has a timing table. Without one, instructions are counted exactly and cycles are not
  estimated.
- **Run** is the chip's current in milliamperes at that clock, **sleep** the one in microamperes with its RAM kept; the
  condition and the source stand with each board. Where no figure has been confirmed, energy is not estimated.
"""


def text() -> str:
    """The whole page."""
    parts = [HEADER, _board_table(boards().values()), "## Bare cores\n", _CORE_INTRODUCTION, _core_table(cores())]
    parts += [_board_section(board) for board in boards().values()]
    return "\n".join(parts)


_CORE_INTRODUCTION = """\
`--core NAME` stands for a board with nothing but that core, 4 MB of flash without wait states at 0x00000000 and 4 MB of
RAM at 0x20000000 (elsewhere where a note below says so): for measuring kernels, and for models that are larger than any
board. The clock is nominal, typical of parts with that core; latencies in milliseconds follow from it, cycles do not.
The same firmware runs on the QEMU machine that is named.
"""


def _board_table(all_boards: Iterable[Board]) -> str:
    rows = [
        (
            f"[{board.name}](#{board.name})",
            board.mcu,
            board.core.name,
            f"{board.clock_hz / 1e6:g} MHz",
            _size(board.flash.bytes),
            _size(board.ram.bytes),
            board.emulated,
            "yes" if board.core.timing else "no",
            f"{board.power.run_milliamps:g}" if board.power else "",
            f"{board.power.sleep_microamps:g}" if board.power else "",
        )
        for board in all_boards
    ]
    return _markdown(("Board", "MCU", "Core", "Clock", "Flash", "RAM", "Emulated", "Cycles", "Run", "Sleep"), rows)


def _core_table(names: Iterable[str]) -> str:
    rows = []
    for name in names:
        board = core_board(name)
        core = board.core
        rows.append(
            (
                f"`{name}`",
                core.title,
                f"`{core.architecture}`",
                ", ".join(core.isas),
                f"{board.clock_hz / 1e6:g} MHz",
                board.emulated,
                core.qemu_machine,
                "yes" if core.timing else "no",
            )
        )
    head = ("Core", "Title", "Architecture", "Kernels", "Nominal clock", "Emulated", "QEMU machine", "Cycles")
    notes = [f"- `{name}`: {note}\n" for name in names for note in core_board(name).notes[1:]]
    return _markdown(head, rows) + "\n" + "".join(notes)


def _board_section(board: Board) -> str:
    lines = [f"## {board.name}", "", f"{board.title}: {board.mcu}, {board.core.title}.", ""]
    lines += _markdown(
        ("Memory", "Kind", "From", "To", "Size"), [_region_row(region) for region in board.regions]
    ).splitlines()
    lines.append("")
    lines += [f"- {note}" for note in board.notes]
    if board.sensors:
        lines.append(f"- Sensors: {'; '.join(board.sensors)}.")
    if board.packages:
        lines.append(f"- Packages: {', '.join(board.packages)}.")
    if board.power:
        lines.append(f"- Power, at {board.power.supply_volts:g} V: {board.power.source}")
    lines += ["", "Sources:", ""]
    lines += [f"- {source}" for source in board.sources]
    return "\n".join(lines) + "\n"


def _region_row(region: Region) -> tuple[str, ...]:
    last = region.base + region.bytes - 1
    return region.name, region.kind, f"`0x{region.base:08x}`", f"`0x{last:08x}`", _size(region.bytes)


def _size(count: int) -> str:
    return f"{count >> 20} MB" if count % (1 << 20) == 0 else f"{count >> 10} KB"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text(), encoding="utf-8", newline="\n")
    else:
        sys.stdout.write(text())


if __name__ == "__main__":
    main()
