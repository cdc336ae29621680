"""What a pass removed, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from midge.ir.graph import Graph, Node


@dataclass(frozen=True, slots=True)
class LayerSize:
    """How large one layer is: channels of its result, multiply-accumulates, bytes of its constants."""

    channels: int
    macs: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class LayerFold:
    """One layer that became smaller."""

    name: str
    op: str
    before: LayerSize
    after: LayerSize


@dataclass(frozen=True, slots=True)
class FoldReport:
    """The layers that a pass made smaller, and the sums over the whole graph."""

    pass_name: str
    layers: tuple[LayerFold, ...]
    macs_before: int
    macs_after: int
    weight_bytes_before: int
    weight_bytes_after: int


def report_of(pass_name: str, before: Graph, after: Graph) -> FoldReport:
    """Compare two graphs with the same node names."""
    old = {node.name: _size(before, node) for node in before.nodes}
    layers = [LayerFold(node.name, node.op.name, old[node.name], _size(after, node)) for node in after.nodes]
    return FoldReport(
        pass_name, tuple(layer for layer in layers if layer.before != layer.after),
        before.total_macs, after.total_macs, _weight_bytes(before), _weight_bytes(after),
    )  # fmt: skip


def _size(graph: Graph, node: Node) -> LayerSize:
    names = {name for name in node.inputs if graph.constant(name) is not None}
    return LayerSize(graph.type(node.outputs[0]).channels, graph.macs(node),
                     sum(graph.type(name or "").bytes for name in names))  # fmt: skip


def _weight_bytes(graph: Graph) -> int:
    read = {name for node in graph.nodes for name in node.inputs}
    return sum(value.type.bytes for value in graph.constants() if value.name in read)
