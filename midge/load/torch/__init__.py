"""Imports PyTorch: live modules, exported programs, .pt2 files; float, or quantised by PT2E (docs/frameworks.md).

The program's ATen operators are written as records of ONNX's operators, which `midge.load.onnx` imports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from midge.ir.graph import Graph
from midge.load.onnx import graph_of
from midge.load.onnx.held import Order
from midge.load.torch.program import export, functional, read_pt2
from midge.load.torch.translate import translate
from midge.ops.base import Rounding


def load_torch(source: Any, example_inputs: Any, name: str, rounding: Rounding) -> tuple[Graph, dict[str, Order]]:
    """The graph of a module (by `example_inputs`, a tuple of tensors) or of a torch.export.ExportedProgram.

    The second says for a port's name the program's axes in the graph's order: (0, 2, 3, 1) for images. Raises
    UnsupportedError listing every operator without an import.
    """
    return graph_of(translate(functional(export(source, example_inputs, name), name), name), name, rounding)


def load_pt2(path: Path, rounding: Rounding) -> tuple[Graph, dict[str, Order]]:
    """The graph of a file that torch.export.save wrote."""
    return graph_of(translate(functional(read_pt2(path), path.name), path.name), path.stem, rounding)
