"""Wild networks (`wild_networks.py`) through the whole line; `python tests/fuzz.py` does as many as one likes."""

from __future__ import annotations

from unittest.mock import patch

import fuzz
import pytest
from wild_layers import LAYERS
from wild_networks import wild_network

import midge
from midge.ir.interpret import run_graph
from midge.ir.text import print_graph
from midge.kernels.add.line import Line
from midge.ops import CASES

FOUND = {
    38: "cortex-m33 ram frame", 47: "cortex-m33 flash frame", 57: "cortex-m0plus ram rows",
    1021: "cortex-m0plus latency rows", 1044: "cortex-m0plus latency frame",
}  # fmt: skip
"""Seeds that once found something, under which combination."""


@pytest.mark.parametrize(("seed", "how"), FOUND.items())
def test_what_it_found_stays_right(seed: int, how: str) -> None:
    graph = wild_network(seed)
    assert fuzz.failure(graph, fuzz.Combination(*how.split()), fuzz.samples_of(graph, seed)) is None


@pytest.mark.slow
@pytest.mark.parametrize("first", range(2000, 2200, 20))
def test_twenty_more(first: int, capsys: pytest.CaptureFixture[str]) -> None:
    failed = fuzz.main([str(first), str(first + 20), "--litert"])
    assert failed == 0, capsys.readouterr().out


def test_networks_follow_from_their_seeds_and_have_all_operators() -> None:
    graphs = [wild_network(seed) for seed in range(120)]
    assert print_graph(graphs[5]) == print_graph(wild_network(5))
    found = {node.op.name for graph in graphs for node in graph.nodes}
    assert found == set(CASES) - {"copy", "conv2d_hybrid"}, "copies are the planner's; hybrids need ranges of floats"
    assert len(LAYERS) == len({layer for layer, _ in LAYERS})
    assert max(len(graph.nodes) for graph in graphs) >= 8


def test_a_wrong_kernel_is_found_and_its_layer_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A sum whose offset is off by one result."""
    from midge.kernels.add import armv7em

    right = armv7em.line_of

    def wrong(*arguments) -> Line | None:
        line = right(*arguments)
        return line and Line(line.a_factor, line.b_factor, line.offset + (1 << line.shift), line.shift)

    seed = next(seed for seed in range(100) if "add_s8_line" in kernels_of(seed))
    with patch("midge.kernels.add.armv6m.line_of", wrong):
        assert fuzz.main([str(seed), str(seed + 1), "--cores", "cortex-m0plus"]) == 1
    out = capsys.readouterr().out
    assert f"{seed} cortex-m0plus" in out and " = Add(" in out and "0 equal, 1 failed" in out


def kernels_of(seed: int) -> str:
    """Names of the kernels of a network whose result its sums can change."""
    graph = wild_network(seed)
    if not any(node.op.name == "add" for node in graph.nodes) or len(graph.nodes) > 4:
        return ""
    (how,) = fuzz.combinations(graph, seed, ["cortex-m0plus"], every=False)
    program = midge.compile(graph, core=how.core, optimize=how.optimize, input_by=how.input_by)  # type: ignore[arg-type]
    return str(program.compiled.plan.kernels)


def test_a_cut_network_computes_the_value() -> None:
    graph = wild_network(38)
    inputs = fuzz.samples_of(graph, 0)[0]
    name = graph.nodes[2].outputs[0]
    part = fuzz.cut(graph, name)
    assert part.outputs == (name,)
    assert run_graph(part, inputs)[0].shape == graph.type(name).shape
