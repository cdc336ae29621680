"""Importers: from a model file to a Graph. The package can be called: `midge.load("model.tflite")`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from midge.errors import ModelError, UnsupportedError, UsageError
from midge.ir.graph import Graph
from midge.ir.text import parse_graph
from midge.load.tflite import load_tflite
from midge.load.tflite.site import Numerics
from midge.ops.base import Rounding

_OTHER_FORMATS = {
    ".h5": "Keras", ".keras": "Keras", ".pt": "PyTorch", ".pt2": "PyTorch", ".pth": "PyTorch",
    ".pb": "TensorFlow", ".mlmodel": "Core ML",
}  # fmt: skip
_TEXT_START = b"graph "


Orders = Mapping[str, tuple[int, ...]]


def load(path: str | Path, *, numerics: Numerics = "litert") -> Graph:
    """The graph of a model file: .tflite, .onnx, or Midge's own text form.

    `numerics` is `litert` (the bits of LiteRT's reference kernels) or `tflm` (those of TensorFlow Lite Micro).
    """
    return load_with_orders(path, numerics=numerics)[0]


def load_with_orders(path: str | Path, *, numerics: Numerics = "litert") -> tuple[Graph, Orders]:
    """The graph, and the file's axes in the graph's order, for ports that the graph has in another order."""
    if numerics not in ("litert", "tflm"):
        raise UsageError("numerics", repr(numerics), "litert or tflm")
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({(error.strerror or str(error)).lower()})") from error
    if start.startswith(_TEXT_START):
        return parse_graph(_text(path)), {}
    if start[4:8] != b"TFL3":
        if path.suffix.lower() == ".onnx":
            from midge.load.onnx import load_onnx  # the onnx package takes a third of a second to import

            return load_onnx(path, Rounding.DOUBLE if numerics == "tflm" else Rounding.SINGLE)
        if path.suffix.lower() in _OTHER_FORMATS:
            raise UnsupportedError(path.name, f"the {_OTHER_FORMATS[path.suffix.lower()]} format",
                                   "a .tflite or .onnx file", "Convert it to one of them first")  # fmt: skip
    return load_tflite(path, numerics), {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(path.name, "a graph in text form that is not UTF-8", "UTF-8 text") from error


class _CallableModule(ModuleType):
    """Makes the package itself the verb, since `midge.load` names both."""

    def __call__(self, path: str | Path, *, numerics: Numerics = "litert") -> Any:
        return load(path, numerics=numerics)


sys.modules[__name__].__class__ = _CallableModule
