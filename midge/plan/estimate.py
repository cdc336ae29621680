"""A rough estimate of what a layer costs under a kernel, for cores without a table.

`midge run` tells what it does cost.
"""

from __future__ import annotations

from midge.ir.graph import Graph, Node
from midge.kernels.base import Kernel
from midge.plan.costs import Cost, Costs
from midge.targets.records import Core

_CYCLES = {
    ("conv2d", "wide"): (1.7, 12),
    ("conv2d", "smlad"): (2.7, 35),
    ("conv2d", "direct"): (6.0, 60),
    ("depthwise_conv2d", "planes"): (1.4, 14),
    ("depthwise_conv2d", "quad"): (7.5, 28),
    ("depthwise_conv2d", "direct"): (12.0, 60),
    ("fully_connected", "wide"): (2.4, 12),
    ("fully_connected", "pairs"): (1.95, 12),
    ("fully_connected", "bytes"): (2.02, 12),
    ("fully_connected", "smlad"): (3.0, 20),
    ("fully_connected", "direct"): (5.0, 30),
}
"""(for each multiply-accumulate, for each result), by operator and the first word of the variant; measured with
`midge run --board nucleo-l4r5zi` on the MLPerf Tiny models."""
_VALUE_CYCLES = 8.0
_CODE_BYTES = 500
_MAC_CYCLES = 2.0
_SLOWER = 1.7
"""From an instruction set to the next one in the core's order, which is best first, where nothing else is known."""


class EstimatedCosts(Costs):
    """Of a core that has no table."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def of(self, node: Node, graph: Graph, kernel: Kernel) -> Cost:
        weights = sum(value.type.bytes for name in node.inputs if name and (value := graph.values[name]).is_constant)
        return Cost(self._cycles(node, graph, kernel), weights, _CODE_BYTES)

    def _cycles(self, node: Node, graph: Graph, kernel: Kernel) -> float:
        macs = graph.macs(node)
        results = sum(type_.elements for type_ in graph.output_types(node))
        word = kernel.name.removeprefix(f"{kernel.op.name}_").split("_")[1].rstrip("0123456789")
        known = _CYCLES.get((node.op.name, word))
        if known is not None:
            return known[0] * macs + known[1] * results
        isa = kernel.name.rpartition("__")[2]
        rank = self._core.isas.index(isa) if isa in self._core.isas else 0
        return (_MAC_CYCLES * macs + _VALUE_CYCLES * results) * _SLOWER**rank
