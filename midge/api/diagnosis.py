"""The accuracy doctor: which layers quantisation hurts, and which cures help how much (docs/quantization.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from midge import pipeline
from midge.api.quantizing import (
    Inputs,
    LayerNoise,
    Progress,
    Quantized,
    decibels,
    quantize_model,
    quantized_inputs,
)
from midge.build.compiled import Options
from midge.compress.groups import KEEPING
from midge.compress.prepare import prepare
from midge.compress.quantize import QuantizeOptions
from midge.compress.ranges import METHODS, Method
from midge.compress.training import Lessons, TrainOptions
from midge.emulate.pattern import fixed_pattern
from midge.errors import ToolError, UnsupportedError, UsageError
from midge.ir.graph import Graph, Node
from midge.ir.interpret import run_graph
from midge.ir.types import DType
from midge.load.model import Model
from midge.targets.records import Board

ENOUGH_DB = 30.0
"""Signal over noise of the outputs from which on no cure is looked for: the noise is a thousandth of the power."""
_LEAST_GAIN_DB = 0.5
_MOST_LAYERS = 3
"""Layers that get int16, and layers that get float32."""
_HURTS_DB = 3.0
"""A layer hurts where it takes so much more from the signal than its operands had lost already."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """How a model is quantised."""

    method: Method = "min-max"
    equalized: bool = False
    bias_correction: bool = False
    adaptive_rounding: bool = False
    training_steps: int = 0
    wide_layers: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One cure that was tried: the outputs' signal-to-noise ratio with it, and its costs beyond the plain form's.

    `samples`: how many it was measured on; with training and after it, only those that were not trained on.
    """

    cure: str
    samples: int
    output_db: float
    gain_db: float
    accuracy: float | None
    """The fraction of these samples that get their label, where the data have labels."""
    extra_bytes: int
    """Of constants."""
    extra_cycles: int | None
    """On the emulated target, where one was named."""
    kept: bool


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """What was found: `hurting` layers of the plain form, worst first; the cures in order; and the best model.

    Accuracies, of the float model and of its plain integer form, are None where the data have no labels.
    """

    plain: Quantized
    plain_db: float
    float_accuracy: float | None
    plain_accuracy: float | None
    hurting: tuple[LayerNoise, ...]
    steps: tuple[Step, ...]
    best: Quantized
    treatment: Treatment
    needs_training: bool
    """No cure reached `ENOUGH_DB`: what is left is training with quantisation in the loop, longer or by its author."""
    untrained: str
    """Why training was not tried though it came to that; else empty."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a form of the model makes of some samples."""

    output_db: float
    accuracy: float | None


def diagnose(source: Model, data: Sequence[Inputs], labels: np.ndarray | None, options: QuantizeOptions,
             training: TrainOptions, board: Board | None, progress: Progress | None) -> Diagnosis:  # fmt: skip
    """Quantise plainly, then try cures in order, and keep those that bring half a decibel or more at the outputs.

    The order: calibration methods, equalisation, bias correction, adaptive rounding; int16 for the layers that hurt
    most and the layers round them, one after the other; training; float32 for what still hurts. With a `board`, each
    form is compiled and run there for its cycles. Training without a step is not tried.
    """
    doctor = _Doctor(source, data, labels, options, training, board, progress)
    for cure, change in _cures():
        doctor.cure(cure, change(doctor.treatment))
    doctor.cure_layers("int16")
    doctor.train()
    doctor.cure_layers("float32")
    return doctor.diagnosis()


def _cures() -> list[tuple[str, Callable[[Treatment], Treatment]]]:
    methods = [
        (f"calibration by {method}", lambda treatment, method=method: replace(treatment, method=method))
        for method in METHODS[1:]
    ]
    return [
        *methods,
        ("equalisation", lambda treatment: replace(treatment, equalized=True)),
        ("bias correction", lambda treatment: replace(treatment, bias_correction=True)),
        ("adaptive rounding", lambda treatment: replace(treatment, adaptive_rounding=True)),
    ]


def hurting_layers(layers: Sequence[LayerNoise]) -> tuple[LayerNoise, ...]:
    """Layers of int8 at which the signal-to-noise ratio falls most against the best so far, worst first."""
    found: list[tuple[float, LayerNoise]] = []
    before = float("inf")
    for layer in layers:
        fall = min(before, ENOUGH_DB * 2) - layer.noise_db
        if layer.dtype == DType.INT8.value and layer.noise_db < ENOUGH_DB and fall >= _HURTS_DB:
            found.append((fall, layer))
        before = min(before, layer.noise_db)
    return tuple(layer for _, layer in sorted(found, key=lambda pair: -pair[0]))


def neighbourhood(graph: Graph, layer: str) -> set[str]:
    """A layer, those that make its operands, and those that read its result; beyond what only moves values.

    With int16 in all of them, neither its operands nor its result are rounded to int8.
    """
    makers = {name: node for node in graph.nodes for name in node.outputs}
    (centre,) = (node for node in graph.nodes if node.name == layer)

    def found(first: Sequence[Node], beyond: Callable[[Node], list[Node]]) -> set[str]:
        seen: dict[str, Node] = {}
        pending = list(first)
        while pending:
            node = pending.pop()
            if node.name not in seen:
                seen[node.name] = node
                pending += beyond(node) if isinstance(node.op, KEEPING) else []
        return set(seen)

    def before(node: Node) -> list[Node]:
        return [makers[name] for name in node.inputs if name in makers]

    def behind(node: Node) -> list[Node]:
        return [reader for name in node.outputs for reader in graph.consumers(name)]

    return {layer} | found(before(centre), before) | found(behind(centre), behind)


class _Doctor:
    """The model, the data, what its float form makes of them, and the best treatment so far."""

    def __init__(self, source: Model, data: Sequence[Inputs], labels: np.ndarray | None, options: QuantizeOptions,
                 training: TrainOptions, board: Board | None, progress: Progress | None) -> None:  # fmt: skip
        self.source, self.board, self.options, self.progress = source, board, options, progress
        self.training = training
        self.times: dict[str, int] = {}
        """By the model's hash."""
        self.lessons = Lessons(data, labels)
        self.graph = prepare(source.graph)
        self.exact = [run_graph(self.graph, sample) for sample in data]
        self.numbers = list(range(len(data)))
        """The samples that forms are measured on."""
        self.treatment = Treatment()
        self.plain = self.best = self._quantized(self.treatment)
        self.plain_score = self.score = self._score(self.plain.graph)
        self.steps: list[Step] = []
        self.untrained = ""

    @property
    def is_well(self) -> bool:
        """No more cures are looked for. An interrupt ends that too."""
        trained = self.best.trained
        return self.score.output_db >= ENOUGH_DB or (trained is not None and trained.interrupted)

    def diagnosis(self) -> Diagnosis:
        exact = [outputs[0] for outputs in self.exact]
        return Diagnosis(
            self.plain, self.plain_score.output_db, self._accuracy(exact, range(len(exact))),
            self.plain_score.accuracy, hurting_layers(self.plain.layers), tuple(self.steps), self.best, self.treatment,
            self.score.output_db < ENOUGH_DB, self.untrained,
        )  # fmt: skip

    def cure(self, name: str, tried: Treatment) -> bool:
        """Try a treatment, unless the model is well; keep it where it helps, which is the result."""
        if self.is_well:
            return False
        return self._judge(name, tried, self._quantized(tried))

    def cure_layers(self, kind: str) -> None:
        """int16 or float32 for the layers that hurt most, as long as it helps."""
        for _ in range(_MOST_LAYERS):
            worst = hurting_layers(self.best.layers)
            if not worst or not self.cure(f"{worst[0].layer} in {kind}", self._with_layer(worst[0].layer, kind)):
                break

    def train(self) -> None:
        """Training, measured on samples that it has not seen."""
        if self.is_well or not self.training.steps:
            return
        tried = replace(self.treatment, training_steps=self.training.steps)
        try:
            made = self._quantized(tried)
        except (ToolError, UnsupportedError, UsageError) as error:
            self.untrained = error.message()
            return
        assert made.trained is not None
        self.numbers = self.lessons.held_out
        self.score = self._score(self.best.graph)
        self._judge(f"training, {made.trained.steps} steps", replace(tried, training_steps=made.trained.steps), made)

    def _judge(self, name: str, tried: Treatment, made: Quantized) -> bool:
        score = self._score(made.graph)
        gain = score.output_db - self.score.output_db
        kept = gain >= _LEAST_GAIN_DB
        extra = None if self.board is None else self._time(made.model) - self._time(self.plain.model)
        more_bytes = made.integer_bytes - self.plain.integer_bytes
        found = Step(name, len(self.numbers), score.output_db, gain, score.accuracy, more_bytes, extra, kept)
        self.steps.append(found)
        if kept:
            self.treatment, self.best, self.score = tried, made, score
        return kept

    def _with_layer(self, layer: str, kind: str) -> Treatment:
        """The treatment with one more layer in float32, or in int16 with the layers round it."""
        if kind == "float32":
            return replace(self.treatment, float_layers=(*self.treatment.float_layers, layer))
        added = neighbourhood(self.graph, layer) - set(self.treatment.wide_layers)
        return replace(self.treatment, wide_layers=(*self.treatment.wide_layers, *sorted(added)))

    def _quantized(self, treatment: Treatment) -> Quantized:
        options = replace(
            self.options, bias_correction=treatment.bias_correction, adaptive_rounding=treatment.adaptive_rounding,
            float_nodes=self.options.float_nodes | set(treatment.float_layers),
            wide_nodes=self.options.wide_nodes | set(treatment.wide_layers),
        )  # fmt: skip
        training = None
        if treatment.training_steps:
            training = self.training if self.best.trained is None else self.best.trained
        return quantize_model(
            self.source, self.lessons.samples, treatment.method, options, self.progress,
            equalized=treatment.equalized, training=training, labels=self.lessons.labels,
        )  # fmt: skip

    def _score(self, graph: Graph) -> Score:
        """The signal-to-noise ratio of the outputs on the samples, and how many get their label."""
        signal = error = 0.0
        first: list[np.ndarray] = []
        for number in self.numbers:
            rough = run_graph(graph, quantized_inputs(graph, self.lessons.samples[number]))
            first.append(rough[0])
            for name, ours, theirs in zip(graph.outputs, rough, self.exact[number], strict=True):
                type_ = graph.type(name)
                real = ours.astype(np.float64)
                if type_.quantization is not None:
                    real = (real - type_.zero_point) * type_.quantization.scale
                signal += float((theirs.astype(np.float64) ** 2).sum())
                error += float(((real - theirs) ** 2).sum())
        return Score(decibels(signal, error), self._accuracy(first, self.numbers))

    def _accuracy(self, outputs: Sequence[np.ndarray], numbers: Sequence[int]) -> float | None:
        labels = self.lessons.labels
        if labels is None:
            return None
        right = [int(array.argmax()) == labels[number] for array, number in zip(outputs, numbers, strict=True)]
        return sum(right) / len(right)

    def _time(self, model: Model) -> int:
        """Cycles of one inference on the emulated board; instructions where its core has no timing table."""
        assert self.board is not None
        if model.sha256 not in self.times:
            inputs = tuple(fixed_pattern(model.graph.type(name)) for name in model.graph.inputs)
            with tempfile.TemporaryDirectory(prefix="midge-") as folder:
                compiled = pipeline.compile_model(model, self.board, Options(), Path(folder))
                trace = pipeline.run_firmware(compiled, inputs, None)
                self.times[model.sha256] = trace.instructions if trace.cycles is None else trace.cycles
        return self.times[model.sha256]
