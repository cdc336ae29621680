"""The emitted C on this computer: for whole data sets, where an emulated board would take hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from midge import pipeline
from midge.load.model import Model
from midge.pipeline import Progress
from midge.reference import samples as sampling

SampleSource = np.ndarray | Mapping[str, np.ndarray] | Sequence[np.ndarray] | Sequence[Sequence[np.ndarray]]


def run_model(model: Model, source: SampleSource, progress: Progress | None) -> tuple[np.ndarray, ...]:
    """One array for each output: the outputs of all samples, joined along their batch."""
    ports = [(name, model.graph.type(name)) for name in model.graph.inputs]
    outputs = pipeline.run_on_host(model, sampling.as_samples(source, ports), progress)
    return tuple(_joined(output) for output in outputs)


def _joined(output: np.ndarray) -> np.ndarray:
    """[N, 1, …] as [N, …]: the batch of one is what samples are joined along. Without a batch nothing is dropped."""
    return output[:, 0] if output.ndim > 2 and output.shape[1] == 1 else output
