"""Training with quantisation in the loop (docs/quantization.md, "Training"); only `train` itself needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from midge.compress.quantize import QuantizeOptions
from midge.compress.ranges import Range
from midge.compress.training.records import LEAST_SAMPLES, Lessons, Trained, TrainOptions
from midge.errors import ToolError, UsageError
from midge.ir.graph import Graph

__all__ = ["Lessons", "TrainOptions", "Trained", "train"]


def train(graph: Graph, made: Graph, ranges: Mapping[str, Range], lessons: Lessons, quantizing: QuantizeOptions,
          options: TrainOptions, progress: Callable[..., None] | None) -> Trained:  # fmt: skip
    """Weights and ranges by which the integers of `made` come nearer to what the float `graph` computes.

    `made` is `graph` quantised with `ranges` as `quantizing` says. Raises ToolError without torch, UnsupportedError
    for operators that cannot be trained, UsageError for too few samples.
    """
    if len(lessons.samples) < LEAST_SAMPLES:
        raise UsageError("training", f"{len(lessons.samples)} calibration samples", f"at least {LEAST_SAMPLES}")
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise ToolError("training", "torch is not installed", cure="Run `pip install 'midge[train]'`") from error
    from midge.compress.training.loop import descend
    from midge.compress.training.student import Student, with_biases

    start = with_biases(graph, made) if quantizing.bias_correction else graph
    return descend(Student(start, made, ranges, per_channel=quantizing.per_channel), graph, lessons, options, progress)
