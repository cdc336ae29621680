"""Which of two plans is the better one, where RAM comes first or has to do: docs/decisions/0004-ram-first.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

RAM_WORTH = 0.5
"""Hundredths of the cycles that a hundredth more RAM must save, where RAM comes first."""
FLASH_WORTH = 0.25
"""The same of flash, where RAM comes first or a budget of RAM is tight: code for speed soon outweighs the weights."""
BESIDE_BYTES = 256
"""Stack and static data, about: so that a few bytes of a tiny network count for no more than they are."""


class Score(NamedTuple):
    """Less is better."""

    excess_bytes: float
    """RAM and flash over the memories or budgets."""
    price: float
    """A hundredth more of it is a hundredth more cycles, or what is worth as much."""


Judge = Callable[[int, float, float], Score]
"""The score of a plan by its peak in bytes, its cycles, and its bytes of flash."""


def judge(room_bytes: int, flash_room_bytes: float, *, ram_first: bool) -> Judge:
    """In the room that there is the best plan; where none fits, the one that lacks least."""
    ram_worth = RAM_WORTH if ram_first else 0.0

    def score(peak_bytes: int, cycles: float, flash_bytes: float) -> Score:
        excess = max(0, peak_bytes - room_bytes) + max(0.0, flash_bytes - flash_room_bytes)
        ram = ram_worth * math.log(peak_bytes + BESIDE_BYTES)
        return Score(excess, ram + math.log(cycles) + FLASH_WORTH * math.log(flash_bytes))

    return score
