"""A model: the graph, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from midge.ir.graph import Graph


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model. `sha256` is the hash of the file, or of the graph's text and constants where there is no file."""

    name: str
    """File name, or the graph's name."""
    path: Path | None
    sha256: str
    numerics: str
    """Whose rounding the integers follow: `litert` or `tflm`."""
    graph: Graph
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The file's axes in the graph's order, for inputs and outputs that the graph has in another order."""
    source: Any = None
    """The live module or model that the graph was read from; None for files and graphs."""
