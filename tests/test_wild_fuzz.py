"""Wild networks (`wild_networks.py`) through the whole line; `python tests/wild_fuzz.py` does as many as one likes."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import wild_fuzz
from networks import NetworkMaker
from wild_layers import LAYERS
from wild_networks import FURTHER, PARTS, wild_network

from midge.ir.interpret import run_graph
from midge.ir.text import print_graph
from midge.kernels.add.line import Line
from midge.ops import CASES


@pytest.mark.parametrize("seed", [*range(8), *range(FURTHER, FURTHER + 4), *range(PARTS, PARTS + 6)])
def test_some(seed: int) -> None:
    """Of cores, goals and ways of input each has its turn; all orders of networks, float32 among them."""
    graph = wild_network(seed)
    (how,) = wild_fuzz.combinations(graph, seed, wild_fuzz.CORES, every=False)
    assert wild_fuzz.failure(graph, how, wild_fuzz.samples_of(graph, seed)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", [*range(2000, 2200, 20), *range(FURTHER, FURTHER + 200, 20), *range(PARTS, PARTS + 300, 20)]
)
def test_twenty_more(first: int, capsys: pytest.CaptureFixture[str]) -> None:
    failed = wild_fuzz.main([str(first), str(first + 20), "--litert"])
    assert failed == 0, capsys.readouterr().out


def test_networks_follow_from_their_seeds_and_have_many_operators() -> None:
    graphs = [wild_network(seed) for seed in (*range(120), *range(FURTHER, FURTHER + 80))]
    assert print_graph(graphs[5]) == print_graph(wild_network(5))
    found = {node.op.name for graph in graphs for node in graph.nodes}
    assert found <= set(CASES) and len(found) >= 30 and {"conv2d", "lstm", "concatenation", "softmax"} <= found
    assert len(LAYERS) == len({layer for layer, _ in LAYERS})
    assert max(len(graph.nodes) for graph in graphs) >= 8


def test_a_wrong_kernel_is_found_and_its_layer_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A sum whose offset is off by one result."""
    from midge.kernels.add import armv7em

    right = armv7em.line_of

    def wrong(*arguments) -> Line | None:
        line = right(*arguments)
        return line and Line(line.a_factor, line.b_factor, line.offset + (1 << line.shift), line.shift)

    maker = NetworkMaker(1, 4, 3, 4)
    graph = maker.finish(maker.add(maker.input, maker.conv(maker.input, 4, (1, 1))))
    with patch("wild_fuzz.wild_network", lambda seed: graph):
        assert wild_fuzz.main(["3", "4", "--cores", "cortex-m0plus"]) == 0
        with patch("midge.kernels.add.armv6m.line_of", wrong):
            assert wild_fuzz.main(["3", "4", "--cores", "cortex-m0plus"]) == 1
    out = capsys.readouterr().out
    assert "3 cortex-m0plus" in out and " = Add(" in out and "0 equal, 1 failed" in out


def test_a_cut_network_computes_the_value() -> None:
    graph = next(graph for seed in range(99) if len((graph := wild_network(seed)).nodes) > 4 and not graph.states)
    inputs = wild_fuzz.samples_of(graph, 0)[0]
    name = graph.nodes[2].outputs[0]
    part = wild_fuzz.cut(graph, name)
    assert part.outputs == (name,)
    assert run_graph(part, inputs)[0].shape == graph.type(name).shape
