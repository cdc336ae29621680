"""Quantisation of a float model with calibration data, and its measure: the noise that it adds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from midge import pipeline
from midge.compress.equalize import equalize
from midge.compress.prepare import prepare
from midge.compress.quantize import QuantizeOptions, quantize_graph
from midge.compress.ranges import Method, histograms, ranges
from midge.compress.statistics import statistics
from midge.compress.training import Lessons, Trained, TrainOptions, train
from midge.errors import UsageError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph_values
from midge.ir.types import TensorType
from midge.load.model import Model
from midge.reference import samples as sampling
from midge.write.onnx import write_onnx
from midge.write.tflite import write_tflite

Inputs = tuple[np.ndarray, ...]
Progress = Callable[..., None]
"""Called with the samples done of a pass over them; in training with the steps done and those of all."""


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """How far a layer's integers are from its float values: 10 log10(signal power / noise power), in dB.

    `low`, `high`: the float values that were seen. `clipped`: the fraction of values at the ends of the integers'
    range, whose float values lie outside it.
    """

    layer: str
    op: str
    is_integer: bool
    dtype: str
    noise_db: float
    low: float
    high: float
    clipped: float


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """A model of integers, and how near it comes to the float one on the calibration data."""

    model: Model
    source: Model
    method: str
    activations: str
    samples: int
    layers: tuple[LayerNoise, ...]
    float_bytes: int
    """Constants of the float model."""
    integer_bytes: int
    trained: Trained | None
    """Where it was trained with quantisation in the loop: with what result."""

    @property
    def graph(self) -> Graph:
        return self.model.graph

    def save(self, path: str | Path) -> Path:
        """Write a .tflite or .onnx file, whole or not at all."""
        return save_graph(self.graph, Path(path))


def save_graph(graph: Graph, path: Path) -> Path:
    """Write a graph in the format that the suffix names, whole or not at all."""
    suffix = path.suffix.lower()
    if suffix not in (".tflite", ".onnx"):
        raise UsageError(str(path), f"the suffix {suffix!r}", ".tflite or .onnx")
    content = write_tflite(graph) if suffix == ".tflite" else write_onnx(graph)
    try:
        handle, name = tempfile.mkstemp(prefix=".midge-", dir=path.absolute().parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(str(path), f"cannot be written ({reason})", cure="Choose another with -o FILE") from error
    return path


def quantize_model(source: Model, data: Sequence[Inputs], method: Method, options: QuantizeOptions,
                   progress: Progress | None, *, equalized: bool = False,
                   training: TrainOptions | Trained | None = None, labels: np.ndarray | None = None
                   ) -> Quantized:  # fmt: skip
    """Quantise a model on calibration data; three passes over the data. `equalized`: channels' ranges first.

    `training`: how to train weights and ranges after that, with `labels` where there are some; or what came of it.
    """
    graph = prepare(source.graph)
    if equalized:
        graph = equalize(graph, statistics(graph, data).magnitudes)
    trained = training if isinstance(training, Trained) else None
    if trained is None:
        seen = ranges(histograms(graph, data, progress), method)
        known = statistics(graph, data).moments if options.adaptive_rounding or options.bias_correction else {}
        made = quantize_graph(graph, seen, options, known)
        if isinstance(training, TrainOptions):
            trained = train(graph, made, seen, Lessons(data, labels), options, training, progress)
    if trained is not None:
        # Its weights were trained as rounding to the nearest finds them.
        nearest = replace(options, adaptive_rounding=False, bias_correction=False)
        made = quantize_graph(trained.graph, trained.ranges, nearest)
    model = pipeline.model_of_graph(made, source.numerics)
    return Quantized(
        model=model, source=source, method=method, activations=options.activations.value, samples=len(data),
        layers=noise(graph, made, data), float_bytes=_constant_bytes(source.graph),
        integer_bytes=_constant_bytes(made), trained=trained,
    )  # fmt: skip


def _constant_bytes(graph: Graph) -> int:
    return sum(value.type.bytes for value in graph.constants())


def noise(graph: Graph, made: Graph, data: Sequence[Inputs]) -> tuple[LayerNoise, ...]:
    """Each layer's integers against its float values, over all samples."""
    signal: dict[str, float] = {}
    error: dict[str, float] = {}
    clipped: dict[str, int] = {}
    count: dict[str, int] = {}
    extremes: dict[str, tuple[float, float]] = {}
    for sample in data:
        exact, rough = run_graph_values(graph, sample), run_graph_values(made, quantized_inputs(made, sample))
        for node in graph.nodes:
            name = node.outputs[0]
            if name not in rough or exact[name].dtype != np.float32:
                continue
            type_ = made.type(name)
            real, outside = _as_real(rough[name], type_), _outside(exact[name], type_)
            signal[name] = signal.get(name, 0.0) + float((exact[name].astype(np.float64) ** 2).sum())
            error[name] = error.get(name, 0.0) + float(((real - exact[name]).astype(np.float64) ** 2).sum())
            clipped[name] = clipped.get(name, 0) + outside
            count[name] = count.get(name, 0) + exact[name].size
            low, high = extremes.get(name, (np.inf, -np.inf))
            extremes[name] = min(low, float(exact[name].min())), max(high, float(exact[name].max()))
    return tuple(
        LayerNoise(
            node.name, node.op.name, not made.type(node.outputs[0]).dtype.is_float,
            made.type(node.outputs[0]).dtype.value,
            decibels(signal[node.outputs[0]], error[node.outputs[0]]), *extremes[node.outputs[0]],
            clipped[node.outputs[0]] / count[node.outputs[0]],
        )
        for node in graph.nodes
        if node.outputs[0] in signal
    )  # fmt: skip


def decibels(signal: float, error: float) -> float:
    """10 log10(signal / error); infinite without an error."""
    return float("inf") if error == 0 else float(10 * np.log10(max(signal, 1e-30) / error))


def quantized_inputs(graph: Graph, sample: Inputs) -> Inputs:
    """A float sample as a graph's inputs want it: in their integers, or as it is."""
    return tuple(_as_type(array, graph.type(name)) for name, array in zip(graph.inputs, sample, strict=True))


def _as_type(array: np.ndarray, type_: TensorType) -> np.ndarray:
    if type_.quantization is None or array.dtype.kind != "f":
        return array
    low, high = type_.dtype.limits
    integers = np.rint(array / np.float32(type_.quantization.scale)) + type_.zero_point
    return np.clip(integers, low, high).astype(type_.dtype.numpy)


def _as_real(array: np.ndarray, type_: TensorType) -> np.ndarray:
    if type_.quantization is None:
        return array
    return (array.astype(np.float32) - np.float32(type_.zero_point)) * np.float32(type_.quantization.scale)


def _outside(exact: np.ndarray, type_: TensorType) -> int:
    """Float values more than half a step outside what the integers reach."""
    if type_.quantization is None:
        return 0
    low, high = type_.dtype.limits
    steps = exact / np.float32(type_.quantization.scale) + type_.zero_point
    return int(((steps < low - 0.5) | (steps > high + 0.5)).sum())


def classes_of(data: object, model: Model, count: int) -> np.ndarray | None:
    """int64 [samples], the class of each, from the array `labels` or `y` of a .npz file or mapping; None without.

    What is no list of whole numbers, one for each sample and each less than the one output has values, is no class.
    """
    graph = model.graph
    if isinstance(data, str | Path):
        data = {} if Path(data).is_dir() else sampling.read_arrays(Path(data))
    if not isinstance(data, Mapping) or len(graph.outputs) != 1:
        return None
    named = [data[name] for name in ("labels", "y") if name in data and name not in graph.inputs]
    if not named or np.size(named[0]) != count:
        return None
    found = np.asarray(named[0]).reshape(-1)
    classes = graph.type(graph.outputs[0]).elements
    is_whole = found.dtype.kind in "iuf" and bool((found == np.floor(found)).all())
    return found.astype(np.int64) if is_whole and _are_below(found, classes) else None


def _are_below(found: np.ndarray, classes: int) -> bool:
    return classes > 1 and bool((found >= 0).all() and (found < classes).all())


def load_calibration(path: Path, model: Model) -> tuple[Inputs, ...]:
    """Samples of a .npz or .npy file (stacked), or of a folder whose .npy and .npz files are one sample each.

    float64 is taken as float32.
    """
    ports = [(name, model.graph.type(name)) for name in model.graph.inputs]
    if not path.is_dir():
        return sampling.load_samples(path, ports, rounds=True)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".npy", ".npz"))
    if not files:
        raise UsageError(str(path), "no .npy or .npz files in the folder", "one for each sample")
    return tuple(sampling.load_inputs(file, ports, rounds=True) for file in files)
