"""Midge's own interpreter: the executable form of docs/numerics.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from midge import __version__
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph, run_graph_values
from midge.load.model import Model


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Runs the graph as it was loaded, before any pass, so that the passes are verified too."""

    graph: Graph

    @property
    def version(self) -> str:
        return f"midge {__version__} interpreter, numpy {np.__version__}"

    @property
    def steps(self) -> tuple[float, ...]:
        return ()

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        return run_graph(self.graph, inputs)

    def values(self, inputs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        return run_graph_values(self.graph, inputs)


def open_reference(model: Model) -> Interpreter:
    return Interpreter(model.graph)
