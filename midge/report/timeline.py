"""RAM over time as a terminal chart: which values live when, in rings of what height, and how much that is together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.console import RenderableType
from rich.text import Text

from midge.plan.records import Buffer, Plan
from midge.report.console import size, table

COLUMNS = 48
_LEVELS = " ▁▂▃▄▅▆▇█"
_NAME_LETTERS = 30


def timeline(plan: Plan, columns: int = COLUMNS) -> tuple[RenderableType, ...]:
    """One line for each buffer in the order of their first lives, and below them their sum as parts of the arena."""
    chart = table("value", "rows", "bytes", "time →", numeric=("bytes",))
    buffers = [buffer for buffer in plan.buffers if buffer.bytes]
    for buffer in sorted(buffers, key=lambda buffer: (buffer.spans[0][0], buffer.offset)):
        name = buffer.name.split(";")[0]
        chart.add_row(name[-_NAME_LETTERS:], rows_text(buffer), f"{buffer.bytes:,}", lives(buffer, plan, columns))
    chart.add_section()
    chart.add_row("alive together", "", f"{plan.arena_bytes:,}", levels(live_maxima(plan, columns), plan.arena_bytes))
    proof = "proven minimal" if plan.proven_minimal else f"lower bound {size(plan.lower_bound_bytes)}"
    note = f"{size(plan.arena_bytes)} for this order of rows, {proof}; {len(plan.schedule):,} steps in time"
    if plan.any_plan_bytes is not None:
        note += f"; no plan takes less than {size(plan.any_plan_bytes)}"
    return chart, Text(note)


def rows_text(buffer: Buffer) -> str:
    """`3 of 34` for a ring, `8` for a whole tensor."""
    if buffer.role == "scratch":
        return "scratch"
    return f"{buffer.height} of {buffer.padded_rows}" if buffer.is_ring else f"{buffer.height}"


def lives(buffer: Buffer, plan: Plan, columns: int) -> str:
    """A bar where the buffer holds something; thin where it does so for a part of the column only."""
    marks = []
    for first, last in _columns(len(plan.schedule), columns):
        alive = sum(max(0, min(last, end) - max(first, start) + 1) for start, end in buffer.spans)
        marks.append("█" if alive > last - first else "░" if alive else " ")
    return "".join(marks)


def live_maxima(plan: Plan, columns: int) -> list[int]:
    """The most bytes alive in each column."""
    changes = [0] * (len(plan.schedule) + 1)
    for buffer in plan.buffers:
        for first, last in buffer.spans:
            changes[first] += buffer.bytes
            changes[min(last + 1, len(plan.schedule))] -= buffer.bytes
    alive, totals = 0, []
    for change in changes[:-1] or [0]:
        alive += change
        totals.append(alive)
    return [max(totals[first : last + 1], default=0) for first, last in _columns(len(totals), columns)]


def levels(values: Sequence[int], most: int) -> str:
    """Blocks as high as the values are of the most."""
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[min(top, -(-value * top // max(most, 1)))] for value in values)


def _columns(actions: int, columns: int) -> list[tuple[int, int]]:
    """First and last action of each column; one action may fill several where there are few."""
    edges = [number * actions // columns for number in range(columns + 1)]
    return [(low, max(low, high - 1)) for low, high in pairwise(edges)]
