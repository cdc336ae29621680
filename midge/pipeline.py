"""The whole program on one page: each function is one stage of the line, in order.

file --load--> Model --plan--> Plan --emit--> Sources --build--> Image --emulate--> Trace
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from midge.build import build
from midge.build.compiled import Compiled, Options, Tuned, c_prefix, command_line
from midge.build.host import HostLibrary, build_host
from midge.build.image import Image
from midge.emit import emit
from midge.emit.sources import Sources
from midge.emulate import emulate, emulate_many
from midge.emulate.host_library import run_host_library, useful_copies
from midge.emulate.pattern import pattern_inputs
from midge.emulate.trace import Trace
from midge.errors import DoesNotFitError, ModelError, UnsupportedError
from midge.ir.graph import Graph
from midge.ir.text import print_graph
from midge.load import Numerics, load_with_orders
from midge.load.model import Model
from midge.passes.pipelines import run_passes
from midge.plan import SHARED_CYCLES, Plan, plan
from midge.plan.costs import Costs
from midge.plan.records import PlanOptions
from midge.plan.spend import flash_limit
from midge.targets.host import host_board
from midge.targets.records import Board
from midge.tune import Progress as TuneProgress
from midge.tune import measure_network

Backend = Literal["unicorn", "qemu"]
Progress = Callable[[int], None]
"""Called with the number of samples begun."""


def load_model(path: Path, numerics: Numerics) -> Model:
    """Read a model file into a verified graph."""
    if not path.exists():
        raise ModelError(str(path), "no such file", "a model file (.tflite, .onnx, .pt2, .keras)")
    if path.is_dir():
        raise ModelError(str(path), "is a folder", "a model file (.tflite, .onnx, .pt2, .keras)")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({(error.strerror or str(error)).lower()})") from error
    graph, orders = load_with_orders(path, numerics=numerics)
    return Model(path.name, path, digest, numerics, graph, orders)


def model_of_graph(graph: Graph, numerics: str) -> Model:
    """A model from a graph in memory; its hash covers the text form and all constants."""
    digest = hashlib.sha256(print_graph(graph).encode())
    for value in graph.constants():
        assert value.data is not None
        digest.update(value.data.tobytes())
    return Model(graph.name, None, digest.hexdigest(), numerics, graph)


def model_of_live(source: Any, example_inputs: Any, numerics: Numerics) -> Model:
    """A model from a live module or Keras model; its hash is its graph's."""
    graph, orders = load_with_orders(source, example_inputs, numerics=numerics)
    return replace(model_of_graph(graph, numerics), orders=orders, source=source)


def make_plan(model: Model, board: Board, options: Options) -> Plan:
    """Rewrite the graph for the board, choose kernels, order the rows, and place them in RAM."""
    limit = _flash_limit(model, board, options)
    return plan(run_passes(model.graph, board), board, replace(options.plan, most_flash_bytes=limit))


def make_sources(plan: Plan, model: Model, options: Options) -> Sources:
    """Write the C and assembly of a plan."""
    return emit(plan, prefix=c_prefix(model.name), command=command_line(model, plan.board, options),
                model_sha256=model.sha256)  # fmt: skip


def compile_model(model: Model, board: Board, options: Options, directory: Path, progress: TuneProgress | None = None
                  ) -> Compiled:  # fmt: skip
    """From a model to a firmware image in `directory`. Raises DoesNotFitError before linking where it can.

    `progress` is called while kernels are tuned (`options.tune`).
    """
    if board.emulated == "planned":
        raise UnsupportedError(
            f"board {board.name}", "planned: Midge makes no firmware for it yet",
            cure="`midge inspect` tells what fits it; `midge boards` lists those that can run a model",
        )  # fmt: skip
    graph = run_passes(model.graph, board)
    if options.tune:
        return _compile_tuned(model, graph, board, options, directory, progress)
    return _compile_within(model, graph, board, options, directory, None)


def _compile_within(model: Model, graph: Graph, board: Board, options: Options, directory: Path, costs: Costs | None
                    ) -> Compiled:  # fmt: skip
    """The fastest image within the budgets, stack and all. Raises DoesNotFitError where none was found."""

    def smallest(memory: Memory, needed: int) -> int | None:
        return _smallest_budget(model, graph, board, options, costs, memory, needed)

    compiled = _compile_near(model, graph, board, options, directory, costs)
    check_flash(compiled.image.flash.total, "code and constants", compiled.plan, options, smallest)
    check_ram(ram_needed(compiled.image), "activations, static data and stack", compiled.plan, options, smallest)
    return compiled


def _compile_near(model: Model, graph: Graph, board: Board, options: Options, directory: Path, costs: Costs | None
                  ) -> Compiled:  # fmt: skip
    """The fastest image within the budgets, or the one that comes closest.

    What static data and stack take shows only in the machine code, so the budget of the plan is corrected by it.
    """
    beside_bytes = 0
    for _ in range(_MOST_CORRECTIONS):
        budget = None if options.ram_bytes is None else max(1, options.ram_bytes - beside_bytes)
        compiled = _compile_in_flash(model, graph, board, options, replace(options.plan, ram_bytes=budget), directory,
                                     costs)  # fmt: skip
        found = ram_needed(compiled.image) - compiled.image.arena_bytes
        if budget is None or ram_needed(compiled.image) <= (options.ram_bytes or 0) or found <= beside_bytes:
            break
        beside_bytes = found
    return compiled


Memory = Literal["ram", "flash"]
Smallest = Callable[[Memory, int], int | None]
"""The smallest budget that works, by what the image that came closest takes; None where the board has less."""


def _smallest_budget(model: Model, graph: Graph, board: Board, options: Options, costs: Costs | None, memory: Memory,
                     needed: int) -> int | None:  # fmt: skip
    """A budget that works, where one byte less does not: found by compiling, beginning with what is needed now.

    A tighter budget may lead to a smaller plan, so it isn't enough to see what the last one takes.
    """
    room = board.ram.bytes if memory == "ram" else board.flash.bytes

    def used(budget: int) -> int | None:
        """What an image within a budget takes; None where there is none."""
        wanted = replace(options, ram_bytes=budget) if memory == "ram" else replace(options, flash_bytes=budget)
        with tempfile.TemporaryDirectory(prefix="midge-budget-") as folder:
            try:
                image = _compile_near(model, graph, board, wanted, Path(folder), costs).image
            except DoesNotFitError:
                return None
        size = ram_needed(image) if memory == "ram" else image.flash.total
        return size if size <= budget else None

    fails, works, takes = (options.ram_bytes if memory == "ram" else options.flash_bytes) or 0, needed, used(needed)
    while takes is None and works <= room:
        fails, works = works, works + max(works // 50, 1)
        takes = used(works)
    if takes is None or works > room:
        return None
    for _ in range(_MOST_PROBES):
        tried = works - 1 if takes == works else takes if takes > fails else (fails + works) // 2
        if tried <= fails:
            break
        found = used(tried)
        if found is None:
            fails = tried
        else:
            works, takes = tried, found
    return works


_MOST_PROBES = 16
_MOST_CORRECTIONS = 4


def ram_needed(image: Image) -> int:
    """All RAM that the machine code tells of."""
    return image.arena_bytes + image.static_bytes + (image.stack.bytes or 0)


def _compile_in_flash(model: Model, graph: Graph, board: Board, options: Options, wanted: PlanOptions, directory: Path,
                      costs: Costs | None) -> Compiled:  # fmt: skip
    """The fastest image within the flash.

    Where flash decides the speed, layers share functions in a second one, and in a third flash comes before latency.
    """
    kinds = [wanted] if wanted.shares_code else [replace(wanted, sharing=shared) for shared in (False, True)]
    if options.flash_bytes is not None and wanted.optimize == "latency":
        kinds.append(replace(wanted, optimize="flash"))
    best: Compiled | None = None
    last: Compiled | None = None
    for kind in kinds:
        found, last, is_limited = _corrected(model, graph, board, options, kind, directory, costs)
        if found is not None and _expected(found) < _expected(best):
            best = found
        if found is not None and not is_limited:
            break
    best = best or last  # within the memories, if perhaps over what speed alone is worth
    if best is None or (options.flash_bytes is not None and best.image.flash.total > options.flash_bytes):
        smallest = replace(wanted, optimize="flash" if options.flash_bytes is not None else wanted.optimize)
        return _built(model, plan(graph, board, replace(smallest, most_flash_bytes=0), costs=costs), options, directory)
    return best if best is last else _built(model, best.plan, options, directory)


def _corrected(model: Model, graph: Graph, board: Board, options: Options, wanted: PlanOptions, directory: Path,
               costs: Costs | None) -> tuple[Compiled | None, Compiled | None, bool]:  # fmt: skip
    """Plan and build; again where an image takes more or less flash than was expected, and that decides its speed.

    The fastest image within the flash, the last one built (both None if there was none), and whether flash decided.
    """
    limit = aim = _flash_limit(model, board, options)
    compiled: Compiled | None = None
    best: Compiled | None = None
    is_limited = False
    seen = []
    while len(seen) < _MOST_BUILDS:
        made = plan(graph, board, replace(wanted, most_flash_bytes=aim), costs=costs)
        if made.expected is None or made.kernels in seen:
            break
        seen.append(made.kernels)
        is_limited |= made.expected.is_limited
        try:
            compiled = _built(model, made, options, directory)
            excess = compiled.image.flash.total - limit
        except DoesNotFitError:
            compiled, excess = None, limit // 10
        if compiled is not None and excess <= 0 and _expected(compiled) < _expected(best):
            best = compiled
        if excess <= 0 and not made.expected.is_limited:
            break
        is_limited |= excess > 0
        aim = min(aim, round(made.expected.flash_bytes)) - excess
    return best, compiled, is_limited


_MOST_BUILDS = 3


def _expected(compiled: Compiled | None) -> float:
    """Cycles that the planner expects."""
    if compiled is None or compiled.plan.expected is None:
        return math.inf
    return compiled.plan.expected.cycles * (SHARED_CYCLES if compiled.plan.options.shares_code else 1)


def _flash_limit(model: Model, board: Board, options: Options) -> int:
    return flash_limit(sum(value.type.bytes for value in model.graph.constants()), board, options.plan)


def _built(model: Model, made: Plan, options: Options, directory: Path) -> Compiled:
    """Sources and image of a plan.

    A budget is held against the image, so that the error can say which one is enough; what the board's flash can't hold
    is not linked.
    """
    sources = make_sources(made, model, options)
    check_flash(sources.weight_bytes, "constants alone", made, replace(options, flash_bytes=None))
    check_ram(made.arena_bytes, "activations alone", made, replace(options, ram_bytes=None))
    image = build(sources, made.board, directory, cc=options.cc, optimize=options.optimize)
    return Compiled(model, made.board, options, made, sources, image)


def _compile_tuned(model: Model, graph: Graph, board: Board, options: Options, directory: Path,
                   progress: TuneProgress | None) -> Compiled:  # fmt: skip
    """Compile by the shipped table and by what is measured for this network, run both, and keep the better one."""
    require_emulated(board, board.backend)
    measured = measure_network(graph, board, options.cc, options.optimize, progress)
    with tempfile.TemporaryDirectory(prefix="midge-tune-") as folder:
        before = _compile_within(model, graph, board, options, Path(folder) / "before", None)
        after = _compile_within(model, graph, board, options, directory, measured.costs)
        traces = [run_firmware(compiled, pattern_inputs(compiled.sources), None) for compiled in (before, after)]
    times = [trace.instructions if trace.cycles is None else trace.cycles for trace in traces]
    scores = [_score(c, time) for c, time in zip((before, after), times, strict=True)]
    is_taken = scores[1] < scores[0]
    kept = after if is_taken else _built(model, before.plan, options, directory)
    tuned = Tuned(
        measured.trials, measured.fresh, (times[0], times[1]),
        (before.image.flash.total, after.image.flash.total), is_taken,
        tuple(_changed(before.plan, kept.plan)), measured.failures,
    )  # fmt: skip
    return replace(kept, tuned=tuned)


def _score(compiled: Compiled, cycles: int) -> tuple[int, ...]:
    """What is to be small, most important first."""
    ram_bytes, flash_bytes = compiled.image.arena_bytes + compiled.image.static_bytes, compiled.image.flash.total
    return {
        "latency": (cycles, flash_bytes, ram_bytes),
        "ram": (ram_bytes, cycles, flash_bytes),
        "flash": (flash_bytes, cycles, ram_bytes),
    }[compiled.options.optimize]


def _changed(before: Plan, after: Plan) -> Iterator[tuple[str, str, str]]:
    """Layers that have another kernel than before, copies between layouts left out."""
    old = dict(before.kernels)
    for name, kernel in after.kernels:
        if name in old and old[name] != kernel:
            yield name, old[name], kernel


def run_firmware(compiled: Compiled, inputs: Sequence[np.ndarray], backend: Backend | None) -> Trace:
    """One inference from reset, on the emulated board; by default with the board's own emulator."""
    backend = backend or compiled.board.backend
    require_emulated(compiled.board, backend)
    trace = emulate(compiled.image, compiled.sources, compiled.board, inputs, backend=backend)
    ram_bytes = compiled.image.arena_bytes + compiled.image.static_bytes + trace.stack_bytes
    check_ram(ram_bytes, "activations, static data and stack", compiled.plan, compiled.options)
    return trace


def run_samples(compiled: Compiled, samples: Sequence[Sequence[np.ndarray]], progress: Progress | None
                ) -> Sequence[tuple[np.ndarray, ...]]:  # fmt: skip
    """The outputs of one inference for each sample, on the emulated board."""
    backend = compiled.board.backend
    require_emulated(compiled.board, backend)
    return emulate_many(compiled.image, compiled.sources, compiled.board, samples, progress=progress, backend=backend)


def make_host_library(model: Model, copies: int = 1) -> HostLibrary:
    """The network as a library of this computer, with room for `copies` threads."""
    options = Options()
    return build_host(make_sources(make_plan(model, host_board(), options), model, options), copies)


def run_on_host(model: Model, samples: Sequence[Sequence[np.ndarray]], progress: Progress | None = None
                ) -> tuple[np.ndarray, ...]:  # fmt: skip
    """The outputs of all samples on this computer: for each output one array, [samples, …]."""
    library = make_host_library(model, useful_copies(len(samples)))
    return run_host_library(library, [np.stack(arrays) for arrays in zip(*samples, strict=True)], progress)


def require_emulated(board: Board, backend: str) -> None:
    """Guard: a board that no emulator runs can be compiled for, and no more."""
    if board.emulated == "compile-only":
        raise UnsupportedError(
            f"board {board.name}", "cannot be emulated yet, so there is nothing to run on",
            cure="Compile for it with `midge compile`, or run on a core with --core cortex-m4",
        )  # fmt: skip
    if board.emulated == "qemu" and backend == "unicorn":
        raise UnsupportedError(f"board {board.name}", "Unicorn has no such core", cure="Use --backend qemu")


def check_flash(needed: int, what: str, plan: Plan, options: Options, smallest: Smallest | None = None) -> None:
    """Raise DoesNotFitError where the network's flash is over the budget or the board's flash."""
    limit, owner = _limit(options.flash_bytes, plan.board.flash.bytes, plan.board, "--flash")
    if needed <= limit:
        return
    sizes = {value.name: value.type.bytes for value in plan.graph.constants()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    listed = ", ".join(f"{short_name(name)} {size:,} B" for name, size in largest)
    raise DoesNotFitError(
        plan.graph.name, f"{what} take {needed:,} bytes of flash, {needed - limit:,} more than {owner}",
        f"at most {limit:,}", f"{_smallest('flash', needed, owner, smallest)}Largest constants: {listed}",
    )  # fmt: skip


def check_ram(needed: int, what: str, plan: Plan, options: Options, smallest: Smallest | None = None) -> None:
    """Raise DoesNotFitError where the network's RAM is over the budget or the board's RAM."""
    limit, owner = _limit(options.ram_bytes, plan.board.ram.bytes, plan.board, "--ram")
    if needed <= limit:
        return
    listed = ", ".join(f"{short_name(buffer.name)} {buffer.bytes:,} B" for buffer in plan.largest_buffers(3))
    raise DoesNotFitError(
        plan.graph.name, f"{what} take {needed:,} bytes of RAM, {needed - limit:,} more than {owner}",
        f"at most {limit:,}",
        f"{_smallest('ram', needed, owner, smallest)}{_less_ram(options)}Largest buffers at the peak: {listed}",
    )  # fmt: skip


def _less_ram(options: Options) -> str:
    """What asks for less, where that was not tried."""
    return (
        ""
        if options.optimize == "ram"
        else "Use --optimize ram, which takes the least (`midge inspect` says how much). "
    )


def _smallest(memory: Memory, needed: int, owner: str, smallest: Smallest | None) -> str:
    """The budget that works, where it was a budget that does not."""
    if owner != f"--{memory} allows":
        return ""
    found = needed if smallest is None else smallest(memory, needed)
    if found is None:
        return f"No budget works: --{memory} would have to be more than the board has. "
    return f"The smallest budget that works: --{memory} {found}. "


def _limit(budget: int | None, memory: int, board: Board, option: str) -> tuple[int, str]:
    if budget is not None and budget < memory:
        return budget, f"{option} allows"
    return memory, f"{board.name} has"


def short_name(name: str) -> str:
    """A value's name for a message: converters join the names of all that they fused with `;`."""
    first = name.split(";")[0]
    return first if len(first) <= MOST_NAME_LETTERS else f"…{first[-MOST_NAME_LETTERS:]}"


MOST_NAME_LETTERS = 48
