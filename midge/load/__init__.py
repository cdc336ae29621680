"""Importers: from a model file to a Graph. The package can be called: `midge.load("model.tflite")`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from midge.errors import ModelError, UnsupportedError, UsageError
from midge.ir.graph import Graph
from midge.ir.text import parse_graph
from midge.load.live import framework_of, name_of
from midge.load.tflite import load_tflite
from midge.load.tflite.site import Numerics
from midge.ops.base import Rounding

_OTHER_FORMATS = {
    ".pb": "TensorFlow", ".mlmodel": "Core ML",
}  # fmt: skip
_PICKLED = (".pt", ".pth")
"""Weights, or code to run: neither is a network that can be read."""
_TEXT_START = b"graph "


Orders = Mapping[str, tuple[int, ...]]


def load(source: Any, example_inputs: Any = None, *, numerics: Numerics = "litert") -> Graph:
    """The graph of a model: a file (.tflite, .onnx, .pt2, .keras, .h5, or Midge's own text form), or a live model.

    Live models are torch.nn.Module (with `example_inputs`, a tuple of tensors of the shapes it will get),
    torch.export.ExportedProgram and keras.Model. `numerics` is `litert` (the bits of LiteRT's reference kernels) or
    `tflm` (those of TensorFlow Lite Micro).
    """
    return load_with_orders(source, example_inputs, numerics=numerics)[0]


def load_with_orders(source: Any, example_inputs: Any = None, *, numerics: Numerics = "litert") -> tuple[Graph, Orders]:
    """The graph, and the source's axes in the graph's order, for ports that the graph has in another order."""
    if numerics not in ("litert", "tflm"):
        raise UsageError("numerics", repr(numerics), "litert or tflm")
    if not isinstance(source, str | Path):
        return _load_live(source, example_inputs, _rounding(numerics))
    if example_inputs is not None:
        raise UsageError("example_inputs", f"given with the file {source}", "a torch.nn.Module")
    path = Path(source)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({(error.strerror or str(error)).lower()})") from error
    if start.startswith(_TEXT_START):
        return parse_graph(_text(path)), {}
    if start[4:8] != b"TFL3":
        if path.suffix.lower() in _IMPORTERS:
            return _IMPORTERS[path.suffix.lower()](path, _rounding(numerics))
        if path.suffix.lower() in _PICKLED:
            raise UnsupportedError(path.name, "a pickle of PyTorch: weights without a network, or code to run",
                                   "a file that torch.export.save wrote",
                                   "torch.export.save(torch.export.export(module, inputs), 'model.pt2')")  # fmt: skip
        if path.suffix.lower() in _OTHER_FORMATS:
            raise UnsupportedError(path.name, f"the {_OTHER_FORMATS[path.suffix.lower()]} format",
                                   "a .tflite or .onnx file", "Convert it to one of them first")  # fmt: skip
    return load_tflite(path, numerics), {}


def _rounding(numerics: Numerics) -> Rounding:
    return Rounding.DOUBLE if numerics == "tflm" else Rounding.SINGLE


def _load_live(source: Any, example_inputs: Any, rounding: Rounding) -> tuple[Graph, Orders]:
    framework, name = framework_of(source), name_of(source)
    if framework == "torch":
        from midge.load.torch import load_torch

        return load_torch(source, example_inputs, name, rounding)
    if framework == "keras":
        from midge.load.keras import load_keras

        return load_keras(source, name, rounding)
    raise UsageError("model", f"an object of type {type(source).__name__}",
                     "a path, a torch.nn.Module, a torch.export.ExportedProgram or a keras.Model")  # fmt: skip


# The formats' own packages take up to seconds to import: only where one of their files is read.
def _onnx(path: Path, rounding: Rounding) -> tuple[Graph, Orders]:
    from midge.load.onnx import load_onnx

    return load_onnx(path, rounding)


def _pt2(path: Path, rounding: Rounding) -> tuple[Graph, Orders]:
    from midge.load.torch import load_pt2

    return load_pt2(path, rounding)


def _keras(path: Path, rounding: Rounding) -> tuple[Graph, Orders]:
    from midge.load.keras import load_keras_file

    return load_keras_file(path, rounding)


_IMPORTERS: Mapping[str, Callable[[Path, Rounding], tuple[Graph, Orders]]] = {
    ".onnx": _onnx, ".pt2": _pt2, ".keras": _keras, ".h5": _keras, ".hdf5": _keras,
}  # fmt: skip


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(path.name, "a graph in text form that is not UTF-8", "UTF-8 text") from error


class _CallableModule(ModuleType):
    """Makes the package itself the verb, since `midge.load` names both."""

    def __call__(self, source: Any, example_inputs: Any = None, *, numerics: Numerics = "litert") -> Any:
        return load(source, example_inputs, numerics=numerics)


sys.modules[__name__].__class__ = _CallableModule
