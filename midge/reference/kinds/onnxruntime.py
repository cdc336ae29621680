"""ONNX Runtime: the reference for .onnx models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from midge.errors import ToolError, UsageError
from midge.load.model import Model
from midge.reference.steps import step

CURE = "Run `pip install midge[onnxruntime]` or `pip install onnxruntime`"


class OnnxRuntime:
    """A session on the CPU, on one thread; inputs and outputs in the graph's order, not the file's."""

    def __init__(self, model: Model) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session: Any = onnxruntime.InferenceSession(
            _source(model), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._graph = model.graph
        self._orders = model.orders
        constants = {port.name for port in self._session.get_overridable_initializers()}
        self._inputs = [port for port in self._session.get_inputs() if port.name not in constants]

    @property
    def version(self) -> str:
        return f"onnxruntime {version('onnxruntime')}, CPU"

    @property
    def steps(self) -> tuple[float, ...]:
        return tuple(step(self._graph, name) for name in self._graph.outputs)

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        feeds = {
            port.name: self._to_file(name, array)
            for port, name, array in zip(self._inputs, self._graph.inputs, inputs, strict=True)
        }
        outputs = self._session.run(None, feeds)
        return tuple(
            self._from_file(name, np.asarray(array)) for name, array in zip(self._graph.outputs, outputs, strict=True)
        )

    def values(self, inputs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        del inputs
        return {}  # a session shows its outputs only

    def _to_file(self, name: str, array: np.ndarray) -> np.ndarray:
        axes = self._orders.get(name)
        return array if axes is None else np.ascontiguousarray(array.transpose(np.argsort(axes)))

    def _from_file(self, name: str, array: np.ndarray) -> np.ndarray:
        axes = self._orders.get(name)
        shape = self._graph.type(name).shape
        return (array if axes is None else array.transpose(axes)).reshape(shape)


def _source(model: Model) -> str | bytes:
    """The file, or its float32 form where it is one of float16."""
    import onnx

    from midge.load.onnx.halves import as_float32, has_halves

    proto = onnx.load(str(model.path))
    return as_float32(proto).SerializeToString() if has_halves(proto) else str(model.path)


def open_reference(model: Model) -> OnnxRuntime:
    if model.path is None or model.path.suffix.lower() != ".onnx":
        raise UsageError("--against onnxruntime", f"{model.name} is no .onnx file", cure="Use --against numpy")
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        raise ToolError("--against onnxruntime", "the package onnxruntime is not installed", cure=CURE) from None
    try:
        return OnnxRuntime(model)
    except Exception as error:  # its own classes, one for each status code
        reason = " ".join(str(error).split())[:200]
        raise ToolError("--against onnxruntime", f"ONNX Runtime does not take {model.name}: {reason}") from error
