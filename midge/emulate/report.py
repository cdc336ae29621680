"""From counts by owner to the layers of a Trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from midge.emit.sources import Sources
from midge.emulate.caches import memory_cycles
from midge.emulate.timing import Cost, Pipeline
from midge.emulate.trace import LayerCount
from midge.targets.records import Board


def total_cycles(layers: Sequence[LayerCount]) -> int | None:
    """The sum over all layers; None where they have none."""
    known = [layer.cycles for layer in layers if layer.cycles is not None]
    return sum(known) if len(known) == len(layers) else None


def with_memory(counts: Cost, tallies: np.ndarray, pipeline: Pipeline, board: Board) -> Cost:
    """The pipeline's cycles, and those that it waits for memory (records of `counter.TALLY`)."""
    unaligned = pipeline.number("unaligned_access")
    cycles = tuple(
        cycles + unaligned * int(tally["unaligned"]) + memory_cycles(board, tally)
        for cycles, tally in zip(counts.cycles, tallies, strict=True)
    )
    return Cost(counts.instructions, cycles)


def layer_counts(sources: Sources, counts: Cost, *, has_cycles: bool = True) -> tuple[LayerCount, ...]:
    """One record for each layer, and last the schedule; cycles are rounded once, here. Without a timing table none."""
    rows = [(layer.name, layer.op, layer.macs) for layer in sources.layers] + [("schedule", "schedule", 0)]
    return tuple(
        LayerCount(name, op, macs, counts.instructions[owner], round(counts.cycles[owner]) if has_cycles else None)
        for owner, (name, op, macs) in enumerate(rows, 1)
    )
