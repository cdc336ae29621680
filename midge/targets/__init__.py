"""The hardware that Midge knows: cores and boards, each one TOML file beside this one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from midge.errors import UsageError
from midge.targets.load import load_boards, load_cores
from midge.targets.records import Board, Core, Power, Region

__all__ = ["Board", "Core", "Power", "Region", "boards", "core_board", "cores", "find_board"]

_CORES, _BARES = load_cores()
_BOARDS = load_boards(_CORES)

BARE_FLASH = Region("flash", "flash", 0x0000_0000, 4 << 20)
BARE_RAM = Region("ram", "ram", 0x2000_0000, 4 << 20)


def cores() -> Mapping[str, Core]:
    """All cores by name, sorted."""
    return _CORES


def boards() -> Mapping[str, Board]:
    """All boards by name, sorted."""
    return _BOARDS


def find_board(name: str) -> Board:
    """The board of that name; UsageError with the nearest names where there is none."""
    if name in _BOARDS:
        return _BOARDS[name]
    if name in _CORES:
        raise UsageError(f"board `{name}`", "this is a core", "the name of a board", f"Use `--core {name}`")
    aliases = {known: (known, board.mcu) for known, board in _BOARDS.items()}
    raise UsageError(f"board `{name}`", "unknown", _nearest(name, aliases), "`midge boards` lists all")


def core_board(core_name: str) -> Board:
    """The bare core, for kernels and large models: 4 MB of zero-wait flash at 0 and 4 MB of RAM at 0x20000000, or where
    the core's file says."""
    if core_name in _BOARDS:
        raise UsageError(f"core `{core_name}`", "this is a board", "the name of a core", f"Use `--board {core_name}`")
    if core_name not in _CORES:
        aliases = {known: (known,) for known in _CORES}
        raise UsageError(f"core `{core_name}`", "unknown", _nearest(core_name, aliases), "`midge boards` lists all")
    core, bare = _CORES[core_name], _BARES[core_name]
    nominal = f"No real part: memories without wait states, and a nominal clock of {bare.clock_hz / 1e6:g} MHz."
    return Board(
        name=core.name,
        title=f"{core.title}, bare core",
        vendor="",
        mcu="",
        core=core,
        clock_hz=bare.clock_hz,
        regions=bare.regions or (BARE_FLASH, BARE_RAM),
        power=None,
        emulated="unicorn" if core.unicorn_model else "qemu" if core.qemu_machine else "planned",
        sensors=(),
        packages=(),
        notes=(nominal, *bare.notes),
        sources=core.sources,
    )


def _nearest(name: str, aliases: Mapping[str, tuple[str, ...]]) -> str:
    """The known names most like `name`, for an error message: `a` or `b`. Each may have more names to match."""
    scores = {known: max(_likeness(name, alias) for alias in texts) for known, texts in aliases.items()}
    ranked = sorted(scores, key=lambda known: (-scores[known], known))
    best = [known for known in ranked[:3] if scores[known] >= 0.8 * scores[ranked[0]]]
    return " or ".join(f"`{known}`" for known in best)


def _likeness(wanted: str, known: str) -> float:
    wanted, known = _plain(wanted), _plain(known)
    score = difflib.SequenceMatcher(None, wanted, known).ratio()
    # Part of a long name ("nano33") is a better hint than the ratio of the lengths says.
    return max(score, 0.9) if wanted and wanted in known else score


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
