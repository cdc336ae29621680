"""What a layer costs under a kernel: cycles and flash, measured (`--tune`) or estimated from the shipped tables.

A table (`tables/<target>.json`, made by `python -m midge.tune.defaults`) holds for each kernel a model that is linear
in a few sizes of the layer, fitted to measurements on the emulated target (docs/tuning.md).
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from midge.errors import InternalError
from midge.ir.graph import Graph, Node
from midge.kernels.base import Kernel
from midge.targets.records import Board

CYCLE_TERMS = ("layer", "rows", "lines", "pixels", "results", "macs", "operands")
"""A line is one channel of one row: what kernels on rows in planes begin anew for."""
WEIGHT_TERMS = ("layer", "channels", "weights")
CODE_TERMS = ("layer", "products")
MOST_PRODUCTS = 512
"""Unrolled code stops growing about there."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one layer under one kernel. `code_bytes` includes functions that other layers may share."""

    cycles: float
    weight_bytes: float
    code_bytes: float


class Costs(ABC):
    """Where the planner looks costs up."""

    @abstractmethod
    def of(self, node: Node, graph: Graph, kernel: Kernel) -> Cost | None:
        """The cost of a node under a kernel; None where nothing is known of that kernel."""


def sizes(node: Node, graph: Graph) -> dict[str, float]:
    """The sizes that costs grow with, by the names of the terms."""
    y = graph.type(node.outputs[0])
    operands = [graph.values[name] for name in node.inputs if name is not None]
    macs = graph.macs(node)
    return {
        "layer": 1,
        "rows": y.rows,
        "lines": y.rows * y.channels,
        "pixels": y.elements // max(y.channels, 1),
        "channels": y.channels,
        "results": y.elements,
        "macs": macs,
        "operands": sum(value.type.elements for value in operands if not value.is_constant),
        "weights": sum(value.type.elements for value in operands if value.is_constant and len(value.type.shape) > 1),
        "products": min(MOST_PRODUCTS, macs // max(y.elements, 1)),
    }


@dataclass(frozen=True, slots=True)
class KernelModel:
    """Coefficients of the terms above. `error` is the relative error of the cycles, root mean square."""

    cycles: tuple[float, ...]
    weights: tuple[float, ...]
    code: tuple[float, ...]
    error: float
    samples: int

    def cost(self, found: Mapping[str, float]) -> Cost:
        """The cost of a layer of these sizes."""

        def value(coefficients: tuple[float, ...], terms: tuple[str, ...]) -> float:
            return sum(k * found[term] for k, term in zip(coefficients, terms, strict=True))

        return Cost(value(self.cycles, CYCLE_TERMS), value(self.weights, WEIGHT_TERMS), value(self.code, CODE_TERMS))


@dataclass(frozen=True, slots=True)
class FittedCosts(Costs):
    """A table as it ships."""

    models: Mapping[str, KernelModel]

    def of(self, node: Node, graph: Graph, kernel: Kernel) -> Cost | None:
        model = self.models.get(kernel.name)
        if model is None or not any(model.cycles[1:]):  # what grows with nothing was fitted to layers of one size
            return None
        return model.cost(sizes(node, graph))


def shipped_costs(board: Board) -> FittedCosts | None:
    """The table of the board, where its memories make a difference; else that of its core. None where there is none."""
    return shipped_table(board.name) or shipped_table(board.core.name)


@cache
def shipped_table(target: str) -> FittedCosts | None:
    """The table of one board or core."""
    file = resources.files("midge.plan").joinpath("tables", f"{target}.json")
    if not file.is_file():
        return None
    return parse_table(f"tables/{target}.json", file.read_text(encoding="utf-8"))


def parse_table(where: str, text: str) -> FittedCosts:
    """A table from its text."""
    try:
        rows = json.loads(text)["kernels"]
        return FittedCosts({name: _model(row) for name, row in rows.items()})
    except (ValueError, KeyError, TypeError) as error:
        raise InternalError(where, f"{type(error).__name__}: {error}", "a table of kernels") from error


def _model(row: Mapping[str, object]) -> KernelModel:
    """One row. Coefficients that are negative or missing make no model of a cost."""

    def numbers(name: str, terms: tuple[str, ...]) -> tuple[float, ...]:
        values = row[name]
        if not isinstance(values, list) or len(values) != len(terms) or any(not v >= 0 for v in values):
            raise ValueError(f"`{name}` is {values}, not {len(terms)} numbers from 0 on")
        return tuple(float(v) for v in values)

    error, samples = row["error"], row["samples"]
    if not isinstance(error, int | float) or not isinstance(samples, int):
        raise ValueError("no `error` or `samples`")
    return KernelModel(numbers("cycles", CYCLE_TERMS), numbers("weights", WEIGHT_TERMS), numbers("code", CODE_TERMS),
                       float(error), samples)  # fmt: skip
