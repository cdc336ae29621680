"""Trials on the emulated board: several in one firmware, because compilers and emulators take long to start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate
from midge.emulate.program import load
from midge.errors import DoesNotFitError, InternalError, MidgeError, ToolError
from midge.targets.records import Board
from midge.tune.cache import Cache, Measurement
from midge.tune.trials import PREFIX, ROOM_BYTES, Trial, joined, trial_plan

Progress = Callable[[int, int], None]
"""Called with the number of trials measured, and of all trials."""

_MOST_TRIALS = 16
_MOST_VALUES = ROOM_BYTES // 8
"""Values of all operands and results in one firmware: they may be widened, and copied once more."""


def measure(found: Sequence[Trial], board: Board, cache: Cache, cc: Literal["zig", "gcc"], optimize: str,
            progress: Progress | None = None) -> dict[str, Measurement]:  # fmt: skip
    """Measurements of all trials, by key; those that the cache has are not made again."""
    missing = {trial.key: trial for trial in found if cache.get(trial.key) is None}
    done = 0
    for batch in _batches(list(missing.values())):
        if progress is not None:
            progress(done, len(missing))
        cache.add(_measured(batch, board, cc, optimize))
        done += len(batch)
    if progress is not None:
        progress(done, len(missing))
    results = {trial.key: cache.get(trial.key) for trial in found}
    return {key: result for key, result in results.items() if result is not None}


def _batches(found: Sequence[Trial]) -> Iterator[list[Trial]]:
    batch: list[Trial] = []
    values = 0
    for trial in found:
        more = sum(value.type.bytes for value in trial.graph.values.values() if not value.is_constant)
        if batch and (len(batch) == _MOST_TRIALS or values + more > _MOST_VALUES):
            yield batch
            batch, values = [], 0
        batch.append(trial)
        values += more
    if batch:
        yield batch


def _measured(batch: Sequence[Trial], board: Board, cc: Literal["zig", "gcc"], optimize: str
              ) -> Mapping[str, Measurement]:  # fmt: skip
    """One firmware's measurements. Where it can't be built or run, each trial gets one of its own, to find out why."""
    try:
        return _run(batch, board, cc, optimize)
    except (ToolError, DoesNotFitError, InternalError) as error:
        if isinstance(error, ToolError) and "not found" in error.message():
            raise
        if len(batch) == 1:
            return {batch[0].key: Measurement(None, 0, _line(error))}
    results: dict[str, Measurement] = {}
    for trial in batch:
        results |= _measured([trial], board, cc, optimize)
    return results


def _line(error: MidgeError) -> str:
    return " ".join(error.message().split())[:200]


def _run(batch: Sequence[Trial], board: Board, cc: Literal["zig", "gcc"], optimize: str) -> Mapping[str, Measurement]:
    graph, kernels = joined(batch)
    sources = emit(trial_plan(graph, board, kernels), prefix=PREFIX, command="", model_sha256="")
    backend: Literal["unicorn", "qemu"] = "qemu" if board.emulated == "qemu" else "unicorn"
    with tempfile.TemporaryDirectory(prefix="midge-tune-") as folder:
        image = build(sources, board, Path(folder) / "firmware", cc=cc, optimize=optimize)
        trace = emulate(image, sources, board, backend=backend, check_alignment=False)
        code_bytes = {symbol.name: symbol.bytes for symbol in load(image.elf).functions}
    cycles = {layer.name: layer.cycles for layer in trace.layers}
    symbols = {layer.name: layer.symbol for layer in sources.layers}
    results: dict[str, Measurement] = {}
    for index, trial in enumerate(batch):
        name = f"t{index}_{trial.node}"
        code = sum(code_bytes.get(symbol, 0) for symbol in (symbols[name], *trial.functions))
        results[trial.key] = Measurement(cycles[name], code)
    return results
