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
from midge.api.diagnosis import Diagnosis
from midge.api.diagnosis import diagnose as diagnose_model
from midge.api.host import SampleSource, run_model
from midge.api.inspection import inspect_model
from midge.api.quantizing import Progress as QuantizeProgress
from midge.api.quantizing import Quantized, classes_of, load_calibration, quantize_model
from midge.api.verification import verify_firmware, verify_on_host
from midge.build.compiled import Compiled, Options
from midge.compress.quantize import QuantizeOptions
from midge.compress.ranges import METHODS, Method
from midge.compress.training import TrainOptions
from midge.compress.training.records import STEPS
from midge.deploy import Recorded, write_project
from midge.emulate.pattern import fixed_pattern
from midge.errors import UsageError
from midge.ir.graph import Graph
from midge.ir.types import DType
from midge.load import Numerics
from midge.load.model import Model
from midge.pipeline import Progress, TuneProgress
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
ACTIVATIONS = ("int8", "int16")
PORTS = ("int8", "int16", "float32")
ROUNDINGS = ("nearest", "adaptive")
BACKENDS = ("unicorn", "qemu")

ModelSource = Any
"""A path, a Graph, a Model, or what `midge.load` takes live: modules and programs of PyTorch, models of Keras."""
InputSource = str | Path | np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]


def boards() -> tuple[Board, ...]:
    """All boards that Midge knows, sorted by name."""
    return tuple(targets.boards().values())


def open_model(model: ModelSource, example_inputs: Any = None, *, numerics: Numerics = "litert") -> Model:
    """A model from a file, a graph in memory, or a live module (with `example_inputs`) or Keras model."""
    if isinstance(model, Model):
        return model
    _choice("numerics", numerics, NUMERICS)
    if isinstance(model, Graph):
        return pipeline.model_of_graph(model, numerics)
    if not isinstance(model, str | Path):
        return pipeline.model_of_live(model, example_inputs, numerics)
    return pipeline.load_model(Path(model), numerics)


def inspect(
    model: ModelSource,
    *,
    board: str | None = None,
    core: str | None = None,
    numerics: Numerics = "litert",
    example_inputs: Any = None,
) -> Inspection:
    """What a model is made of, and which boards it fits; nothing is compiled. Without a target: all boards."""
    asked = (find_target(board, core),) if board or core else boards()
    return inspect_model(open_model(model, example_inputs, numerics=numerics), asked)


def compile(
    model: ModelSource, *, board: str | None = None, core: str | None = None, out: str | Path | None = None,
    optimize: str = "latency", ram: int | None = None, flash: int | None = None, numerics: Numerics = "litert",
    cc: Literal["zig", "gcc"] = "zig", input_by: Literal["rows", "frame"] | None = None, tune: bool = False,
    progress: TuneProgress | None = None, example_inputs: Any = None,
) -> Program:  # fmt: skip
    """Compile a model for a board (or a bare core) into firmware.

    `out` gets the sources, `firmware.elf` and `report.json`; without it everything lives in a temporary folder,
    for as long as the returned Program does. `ram` and `flash` are budgets in bytes. `input_by` says how the network
    takes its input: pushed row by row, so that no frame is in its RAM, or written as a whole; None: the plan chooses.
    `tune` measures kernels for the model's own layers first, and calls `progress` with the number measured and of all.
    `example_inputs`: for a live torch.nn.Module.
    """
    _choice("optimize", optimize, OPTIMIZE)
    _choice("cc", cc, COMPILERS)
    if input_by is not None:
        _choice("input-by", input_by, INPUT_BY)
    for name, budget in (("ram", ram), ("flash", flash)):
        if budget is not None and budget <= 0:
            raise UsageError(f"--{name}", f"{budget}", "a positive number of bytes")
    target = find_target(board, core)
    options = Options(optimize, ram, flash, cc, input_by, tune)
    if out is None:
        return _compile(open_model(model, example_inputs, numerics=numerics), target, options, progress)
    with staged(Path(out), overwrite=True) as folder:
        program = _compile(open_model(model, example_inputs, numerics=numerics), target, options, progress)
        program.write(folder)
    return program


def quantize(
    model: ModelSource, data: str | Path | SampleSource, *, method: Method = "min-max", per_channel: bool = True,
    activations: Literal["int8", "int16"] = "int8", ports: Literal["int8", "int16", "float32"] | None = None,
    float_layers: Sequence[str] = (), int16_layers: Sequence[str] = (), equalize: bool = False,
    bias_correction: bool = False, rounding: Literal["nearest", "adaptive"] = "nearest", train: int = 0,
    seed: int = sampling.SEED, out: str | Path | None = None, progress: QuantizeProgress | None = None,
    example_inputs: Any = None,
) -> Quantized:  # fmt: skip
    """A model of integers of a float one, by post-training quantisation on calibration data (docs/quantization.md).

    `data`: a .npz or .npy file, a folder of them, or arrays as `run_host` takes them; float32, as the model's input.
    `method`: how ranges follow from the data: min-max, percentile, mse or entropy. `per_channel`: weights have a scale
    for each output channel. `activations`: int8, or int16 throughout (weights stay int8). `ports`: type of inputs and
    outputs, if not the activations'. `float_layers` stay float32, `int16_layers` get int16 on all sides. `equalize`,
    `bias_correction`, `rounding`: cures for layers with little signal. `train`: steps of training with quantisation in
    the loop, which needs torch; its batches follow from `seed`, and labels `y` of the data are learned too; Ctrl-C ends
    it with the best so far. `out`: a .tflite or .onnx file.
    """
    _choice("method", method, METHODS)
    _choice("activations", activations, ACTIVATIONS)
    ports = ports or activations
    _choice("ports", ports, PORTS)
    opened = open_model(model, example_inputs)
    samples = _calibration(opened, data)
    names = {node.name for node in opened.graph.nodes}
    for what, layers in (("float layers", float_layers), ("int16 layers", int16_layers)):
        unknown = [name for name in layers if name not in names]
        if unknown:
            raise UsageError(what, f"no layer {unknown[0]!r}", "names as `midge inspect` lists them")
    _choice("rounding", rounding, ROUNDINGS)
    if train < 0:
        raise UsageError("train", f"{train} steps", "none or more")
    options = QuantizeOptions(
        per_channel,
        rounding == "adaptive",
        bias_correction,
        DType(ports),
        frozenset(float_layers),
        DType(activations),
        frozenset(int16_layers),
    )
    quantized = quantize_model(
        opened, samples, method, options, progress, equalized=equalize,
        training=TrainOptions(train, seed) if train else None,
        labels=classes_of(data, opened, len(samples)) if train else None,
    )  # fmt: skip
    if out is not None:
        quantized.save(out)
    return quantized


def diagnose(
    model: ModelSource, data: str | Path | SampleSource, *, board: str | None = None, core: str | None = None,
    ports: Literal["int8", "int16", "float32"] = "int8", train: int = STEPS, seed: int = sampling.SEED,
    progress: QuantizeProgress | None = None,
) -> Diagnosis:  # fmt: skip
    """Which layers int8 hurts, and which cures help how much, tried in order on calibration data.

    With a board or core, each cure's cycles are measured there. `train` and `seed`: as in `quantize`; 0 steps leave
    training out.
    """
    _choice("ports", ports, PORTS)
    opened = open_model(model)
    target = find_target(board, core) if board or core else None
    samples = _calibration(opened, data)
    labels = classes_of(data, opened, len(samples))
    options = QuantizeOptions(ports=DType(ports))
    return diagnose_model(opened, samples, labels, options, TrainOptions(train, seed), target, progress)


def _calibration(model: Model, data: str | Path | SampleSource) -> Sequence[tuple[np.ndarray, ...]]:
    if isinstance(data, str | Path):
        return load_calibration(Path(data), model)
    return sampling.as_samples(data, [(name, model.graph.type(name)) for name in model.graph.inputs])


def run_host(
    model: ModelSource,
    samples: SampleSource,
    *,
    numerics: Numerics = "litert",
    progress: Progress | None = None,
    example_inputs: Any = None,
) -> tuple[np.ndarray, ...]:
    """The outputs of many inferences on this computer: one array for each output, joined along its batch.

    `samples` are arrays stacked along a first dimension (one, or by input name), or a sequence of samples, each as
    `Program.run` takes it. The network is compiled for this computer's processor once, and kept in the user's cache.
    """
    return run_model(open_model(model, example_inputs, numerics=numerics), samples, progress)


def verify_host(
    model: ModelSource, samples: int = 20, *, data: str | Path | None = None, against: str = "numpy",
    seed: int = sampling.SEED, numerics: Numerics = "litert", progress: Progress | None = None,
    example_inputs: Any = None,
) -> Verification:  # fmt: skip
    """Compare every output value that this computer makes with a reference; needs no board."""
    opened = open_model(model, example_inputs, numerics=numerics)
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


def _compile(model: Model, board: Board, options: Options, progress: TuneProgress | None) -> Program:
    folder = tempfile.mkdtemp(prefix="midge-")
    try:
        program = Program(pipeline.compile_model(model, board, options, Path(folder), progress))
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
        image = self.compiled.image
        return RamBytes(image.arena_bytes, image.static_bytes, None, image.stack.bytes)

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

    def run(self, input: InputSource | None = None, *, backend: Literal["unicorn", "qemu"] | None = None) -> Result:
        """One inference from reset on the emulated board; without an input, on the fixed pattern."""
        if backend is not None:
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
