"""The order of the passes."""

from __future__ import annotations

from midge.ir.graph import Graph
from midge.passes import (
    dead,
    fold_channels,
    fuse_activation,
    fuse_pad,
    identities,
    read_part,
    single_channel,
    trim_taps,
)
from midge.passes.options import PassOptions
from midge.targets.records import Board

PASSES = (
    identities, read_part, fuse_pad, fuse_activation, dead, fold_channels, identities, fuse_pad, single_channel,
    trim_taps, dead
)  # fmt: skip
"""`identities` comes first: a layer that computes nothing must not part what can be fused. `dead` comes twice: nodes
that nobody reads (after `read_part`, concatenations) must not hold channels, and folding leaves constants behind.
`identities` and `fuse_pad` do too: a pad of channels may have lost them."""


def run_passes(graph: Graph, board: Board, options: PassOptions | None = None) -> Graph:
    """All passes in order; each keeps the graph's outputs to the bit."""
    for module in PASSES:
        graph = module.run(graph, board, options or PassOptions())
    return graph
