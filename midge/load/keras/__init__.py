"""Imports Keras 3 models: live ones, .keras files, and .h5 files where Keras 3 reads them (docs/frameworks.md).

Layers are written as records of ONNX's operators, between transposes that make no nodes (`midge.load.onnx.held`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from midge.errors import ToolError
from midge.ir.graph import Graph
from midge.load.keras.file import read
from midge.load.keras.walk import translate
from midge.load.onnx import graph_of
from midge.load.onnx.held import Order
from midge.ops.base import Rounding

CURE = "Run `pip install midge[keras]` or `pip install keras h5py torch`"


def load_keras(model: Any, name: str, rounding: Rounding) -> tuple[Graph, dict[str, Order]]:
    """The graph of a live keras.Model; its tensors lie as in Keras."""
    return graph_of(translate(model, name), name, rounding)


def load_keras_file(path: Path, rounding: Rounding) -> tuple[Graph, dict[str, Order]]:
    """The graph of a .keras or .h5 file."""
    return graph_of(translate(read_keras(path), path.name), path.stem, rounding)


def read_keras(path: Path) -> Any:
    """The model of a file. Code in it (lambdas) is not run."""
    require_keras(path.name)
    return read(path)


def require_keras(where: str) -> None:
    """Guard: Keras is installed, with a backend; PyTorch's unless another was chosen."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras  # noqa: F401
    except ImportError as error:
        missing = error.name or "keras"
        raise ToolError(where, f"the package {missing} is not installed", cure=CURE) from None
