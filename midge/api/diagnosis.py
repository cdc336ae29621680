"""The accuracy doctor: which layers quantisation hurts, and which cures help how much (docs/quantization.md)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from midge import pipeline
from midge.api.quantizing import Inputs, LayerNoise, Quantized, decibels, quantize_model, quantized_inputs
from midge.build.compiled import Options
from midge.compress.groups import KEEPING
from midge.compress.prepare import prepare
from midge.compress.quantize import QuantizeOptions
from midge.compress.ranges import METHODS, Method
from midge.emulate.pattern import fixed_pattern
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
    wide_layers: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One cure that was tried: the outputs' signal-to-noise ratio with it, and its costs beyond the plain form's."""

    cure: str
    output_db: float
    gain_db: float
    extra_bytes: int
    """Of constants."""
    extra_cycles: int | None
    """On the emulated target, where one was named."""
    kept: bool


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """What was found: `hurting` layers of the plain form, worst first; the cures in order; and the best model."""

    plain: Quantized
    hurting: tuple[LayerNoise, ...]
    steps: tuple[Step, ...]
    best: Quantized
    treatment: Treatment
    needs_training: bool
    """No cure reached `ENOUGH_DB`: what is left is quantisation-aware training."""


Progress = Callable[[int], None]


def diagnose(source: Model, data: Sequence[Inputs], options: QuantizeOptions, board: Board | None,
             progress: Progress | None) -> Diagnosis:  # fmt: skip
    """Quantise plainly, then try cures in order, and keep those that bring half a decibel or more at the outputs.

    The order: calibration methods, equalisation, bias correction, adaptive rounding, then int16 for the layers that
    hurt most and the layers round them, one after the other, then float32 for what still hurts. With a `board`, each
    form is compiled and run there for its cycles.
    """
    doctor = _Doctor(source, data, options, board, progress)
    plain, first_db = doctor.treat(Treatment())
    treatment, best, best_db = Treatment(), plain, first_db
    steps: list[Step] = []
    for cure, change in _cures():
        if best_db >= ENOUGH_DB:
            break
        tried = change(treatment)
        made, output_db = doctor.treat(tried)
        gain = output_db - best_db
        kept = gain >= _LEAST_GAIN_DB
        steps.append(doctor.step(cure, made, plain, output_db, gain, kept=kept))
        if kept:
            treatment, best, best_db = tried, made, output_db
    for kind in ("int16", "float32"):
        for _ in range(_MOST_LAYERS):
            worst = hurting_layers(best.layers)
            if best_db >= ENOUGH_DB or not worst:
                break
            tried = doctor.with_layer(treatment, worst[0].layer, kind)
            made, output_db = doctor.treat(tried)
            gain = output_db - best_db
            kept = gain >= _LEAST_GAIN_DB
            steps.append(doctor.step(f"{worst[0].layer} in {kind}", made, plain, output_db, gain, kept=kept))
            if not kept:
                break
            treatment, best, best_db = tried, made, output_db
    return Diagnosis(plain, hurting_layers(plain.layers), tuple(steps), best, treatment, best_db < ENOUGH_DB)


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
    """The model, the data, and what its float form makes of them."""

    def __init__(self, source: Model, data: Sequence[Inputs], options: QuantizeOptions, board: Board | None,
                 progress: Progress | None) -> None:  # fmt: skip
        self.source = source
        self.board = board
        self.times: dict[str, int] = {}
        """By the model's hash."""
        self.data = data
        self.options = options
        self.progress = progress
        self.graph = prepare(source.graph)
        self.exact = [run_graph(self.graph, sample) for sample in data]

    def with_layer(self, treatment: Treatment, layer: str, kind: str) -> Treatment:
        """The treatment with one more layer in float32, or in int16 with the layers round it."""
        if kind == "float32":
            return replace(treatment, float_layers=(*treatment.float_layers, layer))
        added = neighbourhood(self.graph, layer) - set(treatment.wide_layers)
        return replace(treatment, wide_layers=(*treatment.wide_layers, *sorted(added)))

    def treat(self, treatment: Treatment) -> tuple[Quantized, float]:
        """The model quantised so, and the signal-to-noise ratio of its outputs."""
        options = replace(
            self.options, bias_correction=treatment.bias_correction, adaptive_rounding=treatment.adaptive_rounding,
            float_nodes=self.options.float_nodes | set(treatment.float_layers),
            wide_nodes=self.options.wide_nodes | set(treatment.wide_layers),
        )  # fmt: skip
        made = quantize_model(
            self.source, self.data, treatment.method, options, self.progress, equalized=treatment.equalized
        )
        return made, self._output_db(made.graph)

    def _output_db(self, graph: Graph) -> float:
        signal = error = 0.0
        for sample, exact in zip(self.data, self.exact, strict=True):
            rough = run_graph(graph, quantized_inputs(graph, sample))
            for name, ours, theirs in zip(graph.outputs, rough, exact, strict=True):
                type_ = graph.type(name)
                real = ours.astype(np.float64)
                if type_.quantization is not None:
                    real = (real - type_.zero_point) * type_.quantization.scale
                signal += float((theirs.astype(np.float64) ** 2).sum())
                error += float(((real - theirs) ** 2).sum())
        return decibels(signal, error)

    def step(self, cure: str, made: Quantized, plain: Quantized, output_db: float, gain: float, *, kept: bool) -> Step:
        """A cure with its costs."""
        extra = None if self.board is None else self._time(made.model) - self._time(plain.model)
        return Step(cure, output_db, gain, made.integer_bytes - plain.integer_bytes, extra, kept)

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
