"""Keras: the reference for .keras and .h5 files and live Keras models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from midge.errors import UsageError
from midge.load.live import framework_of
from midge.load.model import Model


class Keras:
    """The model itself on Keras' backend; inputs and outputs lie as in the graph."""

    steps: tuple[float, ...] = ()

    def __init__(self, model: Model, source: Any) -> None:
        self._graph, self._model = model.graph, source

    @property
    def version(self) -> str:
        import keras

        return f"keras {keras.__version__} on {keras.backend.backend()}"

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        import keras

        found = self._model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        outputs = found if isinstance(found, list | tuple) else [found]
        return tuple(
            np.asarray(keras.ops.convert_to_numpy(output)).reshape(self._graph.type(name).shape)
            for name, output in zip(self._graph.outputs, outputs, strict=True)
        )

    def values(self, inputs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        del inputs
        return {}


def open_reference(model: Model) -> Keras:
    if framework_of(model.source) == "keras":
        return Keras(model, model.source)
    if model.path is None or model.path.suffix.lower() not in (".keras", ".h5", ".hdf5"):
        raise UsageError("--against keras", f"{model.name} is no Keras file and no Keras model",
                         cure="Use --against numpy")  # fmt: skip
    from midge.load.keras import read_keras

    return Keras(model, read_keras(model.path))
