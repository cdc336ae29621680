"""What a model is made of and where it fits, without compiling anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midge import pipeline
from midge.compiled import Options
from midge.emit.sources import Sources
from midge.errors import DoesNotFitError
from midge.ir.graph import Graph, Node
from midge.model import Model
from midge.plan import Plan
from midge.report.records import Fit, Inspection, LayerInfo, PortInfo
from midge.targets import core_board
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class _Need:
    """What a plan for one core and objective takes."""

    ram_bytes: int
    weight_bytes: int
    code_bytes: int
    optimize: str


def inspect_model(model: Model, boards: Sequence[Board]) -> Inspection:
    """Plan the model for each board's core, and compare with the board's memories."""
    graph = model.graph
    needs: dict[str, tuple[_Need, ...]] = {}
    for board in boards:
        if board.core.name not in needs:
            needs[board.core.name] = _needs(model, board)
    fits = [_fit(board, needs[board.core.name]) for board in boards]
    return Inspection(
        model=model.name,
        sha256=model.sha256,
        numerics=model.numerics,
        inputs=tuple(PortInfo(name, graph.type(name)) for name in graph.inputs),
        outputs=tuple(PortInfo(name, graph.type(name)) for name in graph.outputs),
        layers=tuple(_layer(graph, node) for node in graph.nodes),
        fits=tuple(sorted(fits, key=lambda fit: (not fit.fits, fit.ratio, fit.board.name))),
    )


def _layer(graph: Graph, node: Node) -> LayerInfo:
    operands = [graph.values[name] for name in node.inputs if name is not None]
    return LayerInfo(
        name=node.name,
        op=node.op.name,
        inputs=tuple(value.type for value in operands if not value.is_constant),
        outputs=graph.output_types(node),
        macs=graph.macs(node),
        weight_bytes=sum(value.type.bytes for value in operands if value.is_constant),
    )


def _needs(model: Model, board: Board) -> tuple[_Need, ...]:
    """The needs on a core with room for all, once for each objective: the fast plan, then the small ones."""
    roomy = core_board(board.core.name)
    return tuple(_need(model, roomy, optimize) for optimize in ("latency", "ram", "flash"))
