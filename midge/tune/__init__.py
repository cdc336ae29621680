"""The tuner: measures a network's layers under all kernels on the emulated board (docs/tuning.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from midge.errors import UnsupportedError
from midge.ir.graph import Graph
from midge.plan.costs import Costs, shipped_costs
from midge.targets.records import Board
from midge.tune.cache import Cache
from midge.tune.costs import measured_costs
from midge.tune.measuring import Progress, measure
from midge.tune.settings import settings_of
from midge.tune.trials import copy_trials, trial_board, trials

__all__ = ["Measured", "Progress", "measure_network"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What tuning found out about a network's layers."""

    costs: Costs
    trials: int
    """Layers under kernels that were looked at; equal code counts once."""
    fresh: int
    """Those that had to be measured: the others were in the user's cache."""
    failures: tuple[str, ...]
    """Kernels that could not be built or run for a layer, and why; they are not chosen."""


def measure_network(graph: Graph, board: Board, cc: Literal["zig", "gcc"], optimize: str,
                    progress: Progress | None = None, folder: Path | None = None) -> Measured:  # fmt: skip
    """Measure all layers of a network (after passes) under all kernels that may be the fastest, on the emulated board.

    Measurements go to the user's cache (or to `folder`) as they are made: an interrupted run goes on where it stopped.
    """
    if not board.core.timing:
        raise UnsupportedError(f"core {board.core.name}", "has no timing table, so there are no cycles to tune by")
    place = trial_board(board)
    settings = settings_of(board.core, cc, optimize)
    shipped = shipped_costs(board)
    found = [*trials(graph, place, shipped, settings), *copy_trials(graph, place, settings)]
    cache = Cache(board.core.name, folder)
    keys = {trial.key for trial in found}
    fresh = sum(cache.get(key) is None for key in keys)
    results = measure(found, place, cache, cc, optimize, progress)
    failures = sorted({
        f"{trial.node}, {trial.kernel.name}: {results[trial.key].failure}"
        for trial in found if results[trial.key].cycles is None
    })  # fmt: skip
    return Measured(measured_costs(found, results, shipped), len(keys), fresh, tuple(failures))
