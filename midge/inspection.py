"""What a model is made of and where it fits, without compiling anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from midge import pipeline
from midge.compiled import Options
from midge.emit.sources import Sources
from midge.ir.graph import Graph, Node
from midge.model import Model
from midge.report.records import Fit, Inspection, LayerInfo, PortInfo
from midge.targets.records import Board, Region

ROOM_BYTES = 1 << 30
# Compiled by zig for M0+, M3, M4 and M7, the MLPerf Tiny models take 310 to 900 bytes a layer where they are int8, and
# 490 to 1,160 where they are float32. The estimate is to be high rather than low.
INTEGER_LAYER_CODE_BYTES = 800
FLOAT_LAYER_CODE_BYTES = 1100


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
    """The needs of each objective on the board's core with room for all: the fast plan first, then the small ones."""
    regions = (Region("flash", "flash", 0, ROOM_BYTES), Region("ram", "ram", ROOM_BYTES, ROOM_BYTES))
    roomy = replace(board, regions=regions)
    needs = []
    for optimize in ("latency", "ram", "flash"):
        options = Options(optimize)
        plan = pipeline.make_plan(model, roomy, options)
        sources = pipeline.make_sources(plan, model, options)
        needs.append(_Need(plan.arena_bytes, sources.weight_bytes, estimate_code_bytes(sources, plan.graph), optimize))
    return tuple(needs)


def _fit(board: Board, needs: Sequence[_Need]) -> Fit:
    """The first objective whose plan fits, else the one that comes closest."""
    fits = [Fit(board, need.ram_bytes, need.weight_bytes, need.code_bytes, need.optimize) for need in needs]
    return next((fit for fit in fits if fit.fits), min(fits, key=lambda fit: fit.ratio))


def estimate_code_bytes(sources: Sources, graph: Graph) -> int:
    """Machine code of the network: an estimate, by its number of layers."""
    is_float = any(type_.dtype.is_float for node in graph.nodes for type_ in graph.output_types(node))
    return len(sources.layers) * (FLOAT_LAYER_CODE_BYTES if is_float else INTEGER_LAYER_CODE_BYTES)
