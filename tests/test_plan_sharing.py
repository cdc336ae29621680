"""Layers that share functions for the sake of latency: where flash is too small for functions of their own."""

from __future__ import annotations

from networks import NetworkMaker

import midge
from midge.ir.graph import Graph


def deep_network() -> Graph:
    """Twenty convolutions, no two of one shape."""
    maker = NetworkMaker(3, 8, 8, 8)
    x = maker.input
    for channels in range(9, 29):
        x = maker.conv(x, channels, (1, 1))
    return maker.finish(x)


def test_a_tight_budget_of_flash_is_met_by_shared_functions() -> None:
    graph = deep_network()
    free, smallest = (midge.compile(graph, core="cortex-m4", optimize=goal) for goal in ("latency", "flash"))
    budget = smallest.run().flash.total + 2048
    tight = midge.compile(graph, core="cortex-m4", flash=budget)
    assert not free.compiled.plan.options.shares_code
    assert tight.compiled.plan.options.shares_code
    assert tight.run().flash.total <= budget < free.run().flash.total
    assert tight.run().cycles <= smallest.run().cycles
    assert tight.verify(samples=1).mismatches == 0
