"""What a model is made of and where it fits, without compiling anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from midge import pipeline
from midge.build.compiled import Options
from midge.build.firmware import LEAST_STACK_BYTES
from midge.emit.sources import Sources
from midge.ir.graph import Graph, Node
from midge.load.model import Model
from midge.report.records import Fit, Inspection, LayerInfo, PortInfo
from midge.targets.records import Board, Region

ROOM_BYTES = 1 << 30
# C code: compiled by zig for M0+, M3, M4 and M7, the MLPerf Tiny models take 230 to 860 bytes a layer if they are int8,
# and 490 to 1,620 if they are float32. Thumb-2 instructions have two or four bytes.
INTEGER_LAYER_CODE_BYTES = 700
FLOAT_LAYER_CODE_BYTES = 1100
ASSEMBLY_LINE_CODE_BYTES = 3.6
_INSTRUCTION = re.compile(r"^\s+[a-z]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Need:
    """What a plan for one core and objective takes."""

    activation_bytes: int
    weight_bytes: int
    code_bytes: int


def inspect_model(model: Model, boards: Sequence[Board]) -> Inspection:
    """Plan the model for each board's core, and compare with the board's memories."""
    graph = model.graph
    needs = _Needs(model)
    fits = [_fit(board, needs) for board in boards]
    return Inspection(
        model=model.name,
        path=str(model.path or model.name),
        sha256=model.sha256,
        numerics=model.numerics,
        inputs=tuple(PortInfo(name, graph.type(name)) for name in graph.inputs),
        outputs=tuple(PortInfo(name, graph.type(name)) for name in graph.outputs),
        layers=tuple(_layer(graph, node) for node in graph.nodes),
        fits=tuple(sorted(fits, key=lambda fit: (not fit.fits or fit.is_planned, fit.ratio, fit.board.name))),
        smallest=pipeline.make_plan(model, boards[0], Options("ram")) if len(boards) == 1 else None,
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


@dataclass(slots=True)
class _Needs:
    """Needs that were worked out already. Cores that take the same kernels share them."""

    model: Model
    known: dict[tuple[tuple[str, ...], str], _Need] = field(default_factory=dict)

    def of(self, board: Board, optimize: str) -> _Need:
        """What an objective takes on the board's core, were its memories without end."""
        key = (board.core.isas, optimize)
        if key not in self.known:
            regions = (Region("flash", "flash", 0, ROOM_BYTES), Region("ram", "ram", ROOM_BYTES, ROOM_BYTES))
            options = Options(optimize)
            plan = pipeline.make_plan(self.model, replace(board, regions=regions), options)
            sources = pipeline.make_sources(plan, self.model, options)
            code_bytes = estimate_code_bytes(sources, plan.graph)
            self.known[key] = _Need(plan.arena_bytes, sources.weight_bytes, code_bytes)
        return self.known[key]


def _fit(board: Board, needs: _Needs) -> Fit:
    """The fast plan where it fits; else that, or the plan for what it lacks, whichever comes closer."""

    def attempt(optimize: str) -> Fit:
        need = needs.of(board, optimize)
        return Fit(board, need.activation_bytes, LEAST_STACK_BYTES, need.weight_bytes, need.code_bytes, optimize)

    fits = [attempt("latency")]
    fits += [attempt("ram")] if fits[0].ram_short_bytes else []
    fits += [attempt("flash")] if fits[0].flash_short_bytes else []
    return min(fits, key=lambda fit: (not fit.fits, fit.ratio))


def estimate_code_bytes(sources: Sources, graph: Graph) -> int:
    """Machine code of the network: an estimate, by its layers and its lines of assembly."""
    is_float = any(type_.dtype.is_float for node in graph.nodes for type_ in graph.output_types(node))
    compiled = len(sources.layers) * (FLOAT_LAYER_CODE_BYTES if is_float else INTEGER_LAYER_CODE_BYTES)
    lines = sum(len(_INSTRUCTION.findall(sources.files[unit])) for unit in sources.units if unit.endswith(".S"))
    return compiled + round(lines * ASSEMBLY_LINE_CODE_BYTES)
