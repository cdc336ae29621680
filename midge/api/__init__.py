"""Midge from Python: the verbs of the command line on frozen records.

program = midge.compile("kws.tflite", board="arduino-nano-33-ble-sense")
print(program.run().cycles, program.verify(samples=20).mismatches)
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from midge import pipeline, targets
from midge.api.host import SampleSource, run_model
from midge.api.inspection import inspect_model
from midge.api.verification import verify_firmware, verify_on_host
from midge.build.compiled import Compiled, Options
from midge.deploy import Recorded, write_project
from midge.emulate.pattern import fixed_pattern
from midge.errors import UsageError
from midge.ir.graph import Graph
from midge.load import Numerics
from midge.load.model import Model
from midge.pipeline import Progress
from midge.reference import samples as sampling
from midge.report.files import staged
from midge.report.json import compile_json, dump
from midge.report.metrics import measure
from midge.report.records import Arena, Inspection, Package, PortInfo, RamBytes, Result, Verification
from midge.targets.records import Board

OPTIMIZE = ("latency", "ram", "flash")
NUMERICS = ("litert", "tflm")
COMPILERS = ("zig", "gcc")
INPUT_BY = ("rows", "frame")
PLACES = ("board", "host")
BACKENDS = ("unicorn", "qemu")

ModelSource = str | Path | Graph | Model
InputSource = str | Path | np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]


def boards() -> tuple[Board, ...]:
    """All boards that Midge knows, sorted by name."""
    return tuple(targets.boards().values())


def open_model(model: ModelSource, *, numerics: Numerics = "litert") -> Model:
    """A model from a file, or from a graph in memory."""
    if isinstance(model, Model):
        return model
    _choice("numerics", numerics, NUMERICS)
    if isinstance(model, Graph):
        return pipeline.model_of_graph(model, numerics)
    return pipeline.load_model(Path(model), numerics)


def inspect(
    model: ModelSource, *, board: str | None = None, core: str | None = None, numerics: Numerics = "litert"
) -> Inspection:
    """What a model is made of, and which boards it fits; nothing is compiled. Without a target: all boards."""
    asked = (find_target(board, core),) if board or core else boards()
    return inspect_model(open_model(model, numerics=numerics), asked)


def compile(
    model: ModelSource, *, board: str | None = None, core: str | None = None, out: str | Path | None = None,
    optimize: str = "latency", ram: int | None = None, flash: int | None = None, numerics: Numerics = "litert",
    cc: Literal["zig", "gcc"] = "zig", input_by: Literal["rows", "frame"] | None = None,
) -> Program:  # fmt: skip
    """Compile a model for a board (or a bare core) into firmware.

    `out` gets the sources, `firmware.elf` and `report.json`; without it everything lives in a temporary folder,
    for as long as the returned Program does. `ram` and `flash` are budgets in bytes. `input_by` says how the network
    takes its input: pushed row by row, so that no frame is in its RAM, or written as a whole; None lets the plan choose.
    """
    _choice("optimize", optimize, OPTIMIZE)
    _choice("cc", cc, COMPILERS)
    if input_by is not None:
        _choice("input-by", input_by, INPUT_BY)
    for name, budget in (("ram", ram), ("flash", flash)):
        if budget is not None and budget <= 0:
            raise UsageError(f"--{name}", f"{budget}", "a positive number of bytes")
    target = find_target(board, core)
    options = Options(optimize, ram, flash, cc, input_by)
    if out is None:
        return _compile(open_model(model, numerics=numerics), target, options)
    with staged(Path(out), overwrite=True) as folder:
        program = _compile(open_model(model, numerics=numerics), target, options)
        program.write(folder)
    return program


def run_host(
    model: ModelSource, samples: SampleSource, *, numerics: Numerics = "litert", progress: Progress | None = None
) -> tuple[np.ndarray, ...]:
    """The outputs of many inferences on this computer: one array for each output, joined along its batch.

    `samples` are arrays stacked along a first dimension (one, or by input name), or a sequence of samples, each as
    `Program.run` takes it. The network is compiled for this computer's processor once, and kept in the user's cache.
    """
    return run_model(open_model(model, numerics=numerics), samples, progress)


def verify_host(
    model: ModelSource, samples: int = 20, *, data: str | Path | None = None, against: str = "numpy",
    seed: int = sampling.SEED, numerics: Numerics = "litert", progress: Progress | None = None,
) -> Verification:  # fmt: skip
    """Compare every output value that this computer makes with a reference; needs no board."""
    opened = open_model(model, numerics=numerics)
    chosen, origin = _samples(opened, samples, data, seed)
    return verify_on_host(opened, chosen, against, origin, progress)


def _samples(
    model: Model, count: int, data: str | Path | None, seed: int
) -> tuple[Sequence[tuple[np.ndarray, ...]], str]:
    """Samples of a file, or random ones; and where they came from."""
    ports = [(name, model.graph.type(name)) for name in model.graph.inputs]
    if data is not None:
        return sampling.load_samples(Path(data), ports), Path(data).name
    if count <= 0:
        raise UsageError("--samples", f"{count}", "a positive number")
    types = [type_ for _, type_ in ports]
    return sampling.random_samples(types, count, seed), f"random, seed {seed}, {sampling.describe(types)}"


def find_target(board: str | None, core: str | None) -> Board:
    """The board of that name, or the board that stands for a bare core. Raises UsageError for anything else."""
    if board and core:
        raise UsageError("--board and --core", "both given", "one of them")
    if board:
        return targets.find_board(board)
    if core:
        return targets.core_board(core)
    raise UsageError("target", "none given", "--board NAME or --core NAME", "`midge boards` lists them")


def _compile(model: Model, board: Board, options: Options) -> Program:
    folder = tempfile.mkdtemp(prefix="midge-")
    try:
        program = Program(pipeline.compile_model(model, board, options, Path(folder)))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(program, shutil.rmtree, folder, ignore_errors=True)
    return program


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"--{name}", f"'{value}'", f"one of {', '.join(choices)}")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Program:
    """A compiled model: its sources and its firmware, ready to run, verify and deploy."""

    compiled: Compiled

    @property
    def model(self) -> Model:
        return self.compiled.model

    @property
    def board(self) -> Board:
        return self.compiled.board

    @property
    def inputs(self) -> tuple[PortInfo, ...]:
        return tuple(PortInfo(name, self.model.graph.type(name)) for name in self.model.graph.inputs)

    @property
    def outputs(self) -> tuple[PortInfo, ...]:
        return tuple(PortInfo(name, self.model.graph.type(name)) for name in self.model.graph.outputs)

    @property
    def ram(self) -> RamBytes:
        """RAM without the stack, which only a run measures."""
        return RamBytes(self.compiled.image.arena_bytes, self.compiled.image.static_bytes, None)

    @property
    def arena(self) -> Arena:
        plan = self.compiled.plan
        return Arena(plan.arena_bytes, plan.lower_bound_bytes, plan.proven_minimal)

    @property
    def files(self) -> Mapping[str, str]:
        """The emitted sources, by file name."""
        return self.compiled.sources.files

    def write(self, folder: str | Path) -> tuple[str, ...]:
        """Copy the sources, the firmware, its harness and a report to a folder; returns the names of the files."""
        folder, built = Path(folder), self.compiled.image.elf.parent
        shutil.copytree(built, folder, dirs_exist_ok=True)
        (folder / "report.json").write_text(dump(compile_json(self.compiled)) + "\n", encoding="utf-8", newline="\n")
        copied = (path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file())
        return tuple(sorted([*copied, "report.json"]))

    def run(self, input: InputSource | None = None, *, backend: Literal["unicorn", "qemu"] = "unicorn") -> Result:
        """One inference from reset on the emulated board; without an input, on the fixed pattern."""
        _choice("backend", backend, BACKENDS)
        inputs = self._inputs(input)
        return measure(self.compiled, pipeline.run_firmware(self.compiled, inputs, backend))

    def infer(
        self, samples: Sequence[Sequence[np.ndarray]], *, progress: Progress | None = None
    ) -> Sequence[tuple[np.ndarray, ...]]:
        """The outputs of many inferences on the emulated board, on a device that is reset once; nothing is counted."""
        return pipeline.run_samples(self.compiled, samples, progress)

    def run_host(self, samples: SampleSource, *, progress: Progress | None = None) -> tuple[np.ndarray, ...]:
        """The outputs of many inferences on this computer, not on the board; see `midge.run_host`."""
        return run_model(self.model, samples, progress)

    def verify(
        self, samples: int = 20, *, data: str | Path | None = None, against: str = "numpy",
        seed: int = sampling.SEED, on: Literal["board", "host"] = "board", progress: Progress | None = None,
    ) -> Verification:  # fmt: skip
        """Compare every output value of the firmware with a reference, on random samples or on those of a file.

        On the `host`, it is not the firmware that runs, but the same network compiled for this computer.
        """
        _choice("on", on, PLACES)
        if on == "host":
            return verify_host(self.model, samples, data=data, against=against, seed=seed, progress=progress)
        chosen, origin = _samples(self.model, samples, data, seed)
        return verify_firmware(self.compiled, chosen, against, origin, progress)

    def deploy(
        self, kind: str, out: str | Path, *, samples: int = 3, data: str | Path | None = None, check: bool = True,
        force: bool = False,
    ) -> Package:  # fmt: skip
        """Write a project of that kind around the network, and build and run its self-test on the emulated board.

        The self-test runs recorded inputs: the fixed pattern and random samples, or those of `data`.
        """
        types = [port.type for port in self.inputs]
        if data is not None:
            recorded = Recorded(sampling.load_samples(Path(data), self._ports)[:samples], Path(data).name)
        else:
            first = tuple(fixed_pattern(type_) for type_ in types)
            chosen = (first, *sampling.random_samples(types, samples - 1))
            recorded = Recorded(chosen, "fixed pattern and random values")
        return write_project(kind, self.compiled, recorded, Path(out), check=check, force=force)

    @property
    def _ports(self) -> list[tuple[str, Any]]:
        return [(port.name, port.type) for port in self.inputs]

    def _inputs(self, source: InputSource | None) -> tuple[np.ndarray, ...]:
        if source is None:
            return tuple(fixed_pattern(port.type) for port in self.inputs)
        if isinstance(source, str | Path):
            return sampling.load_inputs(Path(source), self._ports)
        return sampling.match_inputs(source, self._ports)
