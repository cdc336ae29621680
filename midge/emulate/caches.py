"""The caches in front of a board's memories, from its `[timing]` table (docs/timing.md, "Memory")."""

from __future__ import annotations

import numpy as np

from midge.emulate.counter import Counter
from midge.targets.records import Board

LINE_BYTES, SECTOR_BYTES = 32, 8
"""Where a table does not say."""


def follows_reads(board: Board) -> bool:
    """True where single data accesses must be followed: they wait for memory, or go through a cache."""
    table = board.core.timing
    if not table.get("flash_miss"):
        return False
    return any(table.get(name) for name in ("read_cache_lines", "unified_cache", "read_miss", "ram_miss"))


def set_caches(counter: Counter, board: Board) -> None:
    """Put the board's caches into the counter; a board without `flash_miss` has none."""
    table = board.core.timing
    if not table.get("flash_miss"):
        return
    # A bare core's RAM (profiles of firmware for other addresses) stands for the board's.
    ram = (board.ram.base, board.ram.bytes) if table.get("ram_miss") else (0, 0)
    unified, lines = bool(table.get("unified_cache")), int(table.get("read_cache_lines", 0))
    uncached = not unified and not lines and bool(table.get("read_miss"))
    counter.set_memories((board.flash.base, board.flash.bytes), ram, unified, uncached)
    for of_reads, name in ((False, "fetch_cache"), (True, "read_cache")):
        lines = int(table.get(f"{name}_lines", 0))
        if lines:
            line_bytes = int(table.get(f"{name}_line_bytes", LINE_BYTES))
            sector_bytes = min(line_bytes, int(table.get("flash_sector_bytes", SECTOR_BYTES)))
            counter.set_cache(of_reads, lines, int(table.get(f"{name}_ways", lines)), line_bytes, sector_bytes)


def memory_cycles(board: Board, tally: np.void) -> float:
    """What an owner waited for memory (a record of `counter.TALLY`), without unaligned accesses."""
    table = board.core.timing
    miss = float(table.get("flash_miss", 0))
    read = float(table.get("read_miss", miss))
    costs = {
        "fetch": (miss, float(table.get("flash_miss_next", miss))),
        "read": (read, float(table.get("read_miss_next", read))),
    }
    cycles = float(table.get("ram_miss", 0)) * int(tally["ram"])
    for kind, (first, following) in costs.items():
        followed = int(tally[f"{kind}_next"])
        cycles += first * (int(tally[kind]) - followed) + following * followed
    return cycles
