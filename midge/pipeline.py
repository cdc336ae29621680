"""The whole program on one page: each function is one stage of the line, in order.

file --load--> Model --plan--> Plan --emit--> Sources --build--> Image --emulate--> Trace
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from midge.build import build
from midge.build.compiled import Compiled, Options, c_prefix, command_line
from midge.build.host import HostLibrary, build_host
from midge.build.image import Image
from midge.emit import emit
from midge.emit.sources import Sources
from midge.emulate import emulate, emulate_many
from midge.emulate.host_library import run_host_library, useful_copies
from midge.emulate.trace import Trace
from midge.errors import DoesNotFitError, ModelError, UnsupportedError
from midge.ir.graph import Graph
from midge.ir.text import print_graph
from midge.load import Numerics, load_with_orders
from midge.load.model import Model
from midge.passes.pipelines import run_passes
from midge.plan import Plan, plan
from midge.targets.host import host_board
from midge.targets.records import Board

Progress = Callable[[int], None]
"""Called with the number of samples begun."""


def load_model(path: Path, numerics: Numerics) -> Model:
    """Read a model file into a verified graph."""
    if not path.exists():
        raise ModelError(str(path), "no such file", "a model file (.tflite, .onnx)")
    if path.is_dir():
        raise ModelError(str(path), "is a folder", "a model file (.tflite, .onnx)")
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


def make_plan(model: Model, board: Board, options: Options) -> Plan:
    """Rewrite the graph for the board, choose kernels, order the rows, and place them in RAM."""
    return plan(run_passes(model.graph, board), board, options.plan)


def make_sources(plan: Plan, model: Model, options: Options) -> Sources:
    """Write the C and assembly of a plan."""
    return emit(plan, prefix=c_prefix(model.name), command=command_line(model, plan.board, options),
                model_sha256=model.sha256)  # fmt: skip


def compile_model(model: Model, board: Board, options: Options, directory: Path) -> Compiled:
    """From a model to a firmware image in `directory`. Raises DoesNotFitError before linking where it can."""
    if board.emulated == "planned":
        raise UnsupportedError(
            f"board {board.name}", "planned: Midge makes no firmware for it yet",
            cure="`midge inspect` tells what fits it; `midge boards` lists those that can run a model",
        )  # fmt: skip
    compiled = _within_ram(model, board, options, directory)
    if options.flash_bytes is not None and compiled.image.flash.total > options.flash_bytes:
        compiled = _within_ram(model, board, replace(options, optimize="flash"), directory)
        compiled = replace(compiled, options=options)
    plan, image = compiled.plan, compiled.image
    check_flash(image.flash.total, "code and constants", plan, options)
    check_ram(_ram_needed(image), "activations, static data and stack", plan, options)
    return compiled


def _within_ram(model: Model, board: Board, options: Options, directory: Path) -> Compiled:
    """The fastest plan whose RAM, stack and all, is inside the budget, or else the one found with the least RAM.

    What static data and stack take shows only in the machine code, so the budget of the plan is corrected by it.
    """
    beside_bytes = 0
    for _ in range(_MOST_CORRECTIONS):
        budget = None if options.ram_bytes is None else max(1, options.ram_bytes - beside_bytes)
        plan = make_plan(model, board, replace(options, ram_bytes=budget))
        sources = make_sources(plan, model, options)
        check_flash(sources.weight_bytes, "constants alone", plan, replace(options, flash_bytes=None))
        image = build(sources, board, directory, cc=options.cc, optimize=options.optimize)
        found = _ram_needed(image) - image.arena_bytes
        if budget is None or _ram_needed(image) <= (options.ram_bytes or 0) or found <= beside_bytes:
            break
        beside_bytes = found
    return Compiled(model, board, options, plan, sources, image)


_MOST_CORRECTIONS = 4


def _ram_needed(image: Image) -> int:
    """All RAM that the machine code tells of."""
    return image.arena_bytes + image.static_bytes + (image.stack.bytes or 0)


def run_firmware(compiled: Compiled, inputs: Sequence[np.ndarray], backend: Literal["unicorn", "qemu"]) -> Trace:
    """One inference from reset, on the emulated board."""
    require_emulated(compiled.board, backend)
    trace = emulate(compiled.image, compiled.sources, compiled.board, inputs, backend=backend)
    ram_bytes = compiled.image.arena_bytes + compiled.image.static_bytes + trace.stack_bytes
    check_ram(ram_bytes, "activations, static data and stack", compiled.plan, compiled.options)
    return trace


def run_samples(compiled: Compiled, samples: Sequence[Sequence[np.ndarray]], progress: Progress | None
                ) -> Sequence[tuple[np.ndarray, ...]]:  # fmt: skip
    """The outputs of one inference for each sample, on the emulated board."""
    require_emulated(compiled.board, "unicorn")
    return emulate_many(compiled.image, compiled.sources, compiled.board, samples, progress=progress)


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


def check_flash(needed: int, what: str, plan: Plan, options: Options) -> None:
    """Raise DoesNotFitError where the network's flash is over the budget or the board's flash."""
    limit, owner = _limit(options.flash_bytes, plan.board.flash.bytes, plan.board, "--flash")
    if needed <= limit:
        return
    sizes = {value.name: value.type.bytes for value in plan.graph.constants()}
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:3]
    listed = ", ".join(f"{short_name(name)} {size:,} B" for name, size in largest)
    raise DoesNotFitError(
        plan.graph.name, f"{what} take {needed:,} bytes of flash, {needed - limit:,} more than {owner}",
        f"at most {limit:,}", f"{_smallest('--flash', needed, owner)}Largest constants: {listed}",
    )  # fmt: skip


def check_ram(needed: int, what: str, plan: Plan, options: Options) -> None:
    """Raise DoesNotFitError where the network's RAM is over the budget or the board's RAM."""
    limit, owner = _limit(options.ram_bytes, plan.board.ram.bytes, plan.board, "--ram")
    if needed <= limit:
        return
    listed = ", ".join(f"{short_name(buffer.name)} {buffer.bytes:,} B" for buffer in plan.largest_buffers(3))
    raise DoesNotFitError(
        plan.graph.name, f"{what} take {needed:,} bytes of RAM, {needed - limit:,} more than {owner}",
        f"at most {limit:,}", f"{_smallest('--ram', needed, owner)}Largest buffers at the peak: {listed}",
    )  # fmt: skip


def _smallest(option: str, needed: int, owner: str) -> str:
    """The budget that works: what the plan with the least memory takes, which was tried last."""
    return f"The smallest budget that works: {option} {needed}. " if owner == f"{option} allows" else ""


def _limit(budget: int | None, memory: int, board: Board, option: str) -> tuple[int, str]:
    if budget is not None and budget < memory:
        return budget, f"{option} allows"
    return memory, f"{board.name} has"


def short_name(name: str) -> str:
    """A value's name for a message: converters join the names of all that they fused with `;`."""
    first = name.split(";")[0]
    return first if len(first) <= MOST_NAME_LETTERS else f"…{first[-MOST_NAME_LETTERS:]}"


MOST_NAME_LETTERS = 48
