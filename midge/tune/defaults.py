"""The tables that ship: `python -m midge.tune.defaults [--target NAME …]` measures and writes `midge/plan/tables/`.

What was measured stays in the user's cache, so a run that was interrupted goes on where it stopped, and a run after a
change of kernels measures only those whose code has changed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

import midge.plan
from midge import targets
from midge.errors import ToolError, UnsupportedError
from midge.plan.candidates import legal_kernels
from midge.plan.costs import KernelModel, sizes
from midge.targets.records import Board
from midge.tune.cache import Cache
from midge.tune.fit import Sample, fit
from midge.tune.measuring import Progress, measure
from midge.tune.settings import settings_of
from midge.tune.shapes import layers
from midge.tune.trials import Trial, trial_board, trials

FOLDER = Path(midge.plan.__file__).parent / "tables"
COMMAND = "python -m midge.tune.defaults"
LEAST_SAMPLES = 2
"""A kernel that took fewer of the layers has no row: its place in KERNELS says enough."""


def tabled_targets() -> list[Board]:
    """Cores that are emulated and timed, and boards whose memories make a difference."""
    cores = [targets.core_board(name) for name in targets.cores()]
    boards = list(targets.boards().values())
    own = [board for board in boards if board.core.timing != targets.cores()[board.core.name].timing]
    return [board for board in (*cores, *own) if board.core.timing and board.emulated in ("unicorn", "qemu")]


def kernel_models(board: Board, cache: Cache, progress: Progress | None) -> dict[str, KernelModel]:
    """The rows of one target's table: of operators that have a choice."""
    place = trial_board(board)
    found = list(_trials(place))
    results = measure(found, place, cache, "zig", "latency", progress)
    samples: dict[str, list[Sample]] = defaultdict(list)
    for trial in found:
        result = results[trial.key]
        if result.cycles is not None:
            node = trial.graph.nodes[0]
            sample = Sample(sizes(node, trial.graph), result.cycles, trial.weight_bytes, result.code_bytes)
            samples[trial.kernel.name].append(sample)
    return {name: fit(samples[name]) for name in sorted(samples) if len(samples[name]) >= LEAST_SAMPLES}


def _trials(board: Board) -> Iterator[Trial]:
    for graph in layers():
        if len(legal_kernels(graph.nodes[0], graph, board.core)) > 1:
            yield from trials(graph, board, None, settings_of(board.core, "zig", "latency"))


def table_text(target: str, models: dict[str, KernelModel]) -> str:
    """One kernel a line."""
    rows = [
        f"    {json.dumps(name)}: " + json.dumps({"cycles": model.cycles, "weights": model.weights, "code": model.code,
                                                 "error": model.error, "samples": model.samples})
        for name, model in models.items()
    ]  # fmt: skip
    head = {"target": target, "command": f"{COMMAND} --target {target}"}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    return "\n".join(["{", *lines, '  "kernels": {', ",\n".join(rows), "  }", "}", ""])


@click.command()
@click.option("--target", "names", multiple=True, metavar="NAME", help="A board or core; all that are timed, if none.")
def main(names: Sequence[str]) -> None:
    """Measure kernels on emulated targets and write the tables that plans are made by."""
    chosen = [board for board in tabled_targets() if not names or board.name in names]
    if unknown := set(names) - {board.name for board in chosen}:
        raise click.UsageError(f"not timed, or its core's table serves it: {', '.join(sorted(unknown))}")
    FOLDER.mkdir(exist_ok=True)
    for board in chosen:

        def report(done: int, total: int, name: str = board.name) -> None:
            click.echo(f"\r{name}: {done} of {total} trials", nl=done == total)

        try:
            models = kernel_models(board, Cache(board.core.name), report)
        except (ToolError, UnsupportedError) as error:
            click.echo(f"{board.name}: left as it is: {error.message()}", err=True)
            continue
        (FOLDER / f"{board.name}.json").write_text(table_text(board.name, models), encoding="utf-8", newline="\n")
        worst = max(models.values(), key=lambda model: model.error, default=None)
        click.echo(f"{board.name}: {len(models)} kernels, errors up to {worst.error if worst else 0:.1%}")


if __name__ == "__main__":
    main()
