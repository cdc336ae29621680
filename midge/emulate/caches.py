"""The caches in front of a board's flash, from its `[timing]` table (docs/timing.md, "Memory")."""

from __future__ import annotations

from midge.emulate.counter import Counter
from midge.targets.records import Board


def has_read_cache(board: Board) -> bool:
    """True where data read from flash goes through a cache that is modelled."""
    return bool(board.core.timing.get("flash_miss")) and bool(board.core.timing.get("read_cache_lines"))


def set_caches(counter: Counter, board: Board) -> None:
    """Put the board's caches into the counter; a board without `flash_miss` has none."""
    table = board.core.timing
    if not table.get("flash_miss"):
        return
    for of_reads, name in ((False, "fetch_cache"), (True, "read_cache")):
        lines, line_bytes = int(table.get(f"{name}_lines", 0)), int(table.get(f"{name}_line_bytes", 32))
        counter.set_cache(
            of_reads, board.flash.base, board.flash.bytes, lines, line_bytes, int(table.get("flash_sector_bytes", 8))
        )
