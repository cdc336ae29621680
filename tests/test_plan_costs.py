"""The choice of kernels: cheapest assignments, prices of memory, the tables that ship."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from networks import NetworkMaker, random_network

from midge.errors import InternalError
from midge.ir.graph import Graph, Node
from midge.kernels.base import Kernel, Layout
from midge.ops import CASES
from midge.ops.reshape import Reshape
from midge.plan import PlanOptions, bind_with_copies, plan
from midge.plan.assign import Assignment, Prices, assign
from midge.plan.candidates import Candidate, CopyCosts, candidates, legal_kernels, node_costs
from midge.plan.copies import flat_values, root_value
from midge.plan.costs import Cost, Costs, parse_table, shipped_costs, shipped_table
from midge.plan.spend import choose_kernels, flash_limit, spend
from midge.targets import core_board
from midge.targets.records import Core
from midge.tune.defaults import FOLDER, tabled_targets
from midge.tune.fit import Sample, fit, non_negative_least_squares
from midge.tune.shapes import layers

BOARD = core_board("cortex-m4")
TABLES = sorted(path.stem for path in FOLDER.glob("*.json"))


class RandomCosts(Costs):
    """A cost for each node and kernel, drawn from their names."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def of(self, node: Node, graph: Graph, kernel: Kernel) -> Cost:
        name = f"{node.name} {kernel.name}" if node.op.name != "copy" else f"{graph.type('x').shape} {kernel.name}"
        rng = np.random.default_rng([self.seed, *name.encode()])
        return Cost(float(rng.integers(10, 1000)), float(rng.integers(0, 50)), float(rng.integers(0, 50)))


class KnownCosts(Costs):
    """Costs by the kernel's name alone."""

    def __init__(self, cycles: Mapping[str, float]) -> None:
        self.cycles = cycles

    def of(self, node: Node, graph: Graph, kernel: Kernel) -> Cost | None:
        del node, graph
        return Cost(self.cycles[kernel.name], 100, 100) if kernel.name in self.cycles else None


def price_of(graph: Graph, chosen: Mapping[str, Candidate], copies: CopyCosts, prices: Prices) -> float | None:
    """What an assignment costs by the rules of `insert_copies`; None where a copy has no kernel."""
    bindings = {name: candidate.binding for name, candidate in chosen.items()}
    flat = flat_values(graph, bindings)
    written = {
        name: layout for node in graph.nodes if node.name in bindings
        for name, layout in zip(node.outputs, bindings[node.name].writes, strict=True)
    }  # fmt: skip
    needed: set[tuple[str, Layout]] = set()
    for node in graph.nodes:
        for name, reads in zip(node.inputs, bindings[node.name].reads if node.name in bindings else (), strict=False):
            if name is None or reads is None:
                continue
            root = root_value(graph, name)
            layout = written.get(root, Layout(graph.type(root).dtype))
            if layout != reads.layout or (reads.is_padded and root in flat):
                needed.add((root, reads.layout))
    for name in graph.outputs:
        root = root_value(graph, name)
        if root in written and not written[root].is_natural:
            needed.add((f"{root} (output)", Layout(graph.type(root).dtype)))
    total = sum(c.cycles + prices.flash * c.flash_bytes + prices.ram * c.ring_bytes for c in chosen.values())
    for name, layout in needed:
        root = name.removesuffix(" (output)")
        cost = copies.of(graph.type(root), written.get(root, Layout(graph.type(root).dtype)), layout)
        if cost is None:
            return None
        total += cost.cycles + prices.flash * cost.code_bytes
    return total


@pytest.mark.parametrize("seed", range(12))
def test_assignments_are_the_cheapest(seed: int) -> None:
    """Against all assignments of three kernels a node."""
    graph = _small_network(seed)
    rng = np.random.default_rng(seed)
    costs, prices = RandomCosts(seed), Prices(0.5, 0.01)
    listed = {
        name: [found[i] for i in sorted(rng.permutation(len(found))[:3])]
        for name, found in candidates(graph, BOARD.core, costs).items()
    }
    copies = CopyCosts(BOARD.core, costs)
    combinations = (dict(zip(listed, chosen, strict=True)) for chosen in itertools.product(*listed.values()))
    best = min(price for one in combinations if (price := price_of(graph, one, copies, prices)) is not None)
    found = assign(graph, listed, copies, prices)
    assert found is not None
    chosen = {
        name: next(candidate for candidate in listed[name] if candidate.binding is binding)
        for name, binding in found.bindings.items()
    }
    assert price_of(graph, chosen, copies, prices) == pytest.approx(best)


def _small_network(seed: int) -> Graph:
    """A chain with a residual edge, or without one."""
    maker = NetworkMaker(seed, 6, 6, 4)
    x = maker.conv(maker.input, 4, (3, 3))
    y = maker.conv(maker.depthwise(x, (3, 3)), 4, (1, 1))
    if seed % 2:
        y = maker.add(x, y)
    return maker.finish(maker.conv(y, 4, (1, 1)) if seed % 3 else y)


def test_the_plan_has_the_kernels_of_the_assignment() -> None:
    """And copies make every network whole, whatever layouts random costs ask for."""
    for seed in range(20):
        graph, costs = random_network(seed), RandomCosts(seed)
        chosen = choose_kernels(graph, BOARD, PlanOptions(), costs, {})
        assert chosen is not None
        made = dict(plan(graph, BOARD, PlanOptions(), costs=costs).kernels)
        assert {name: made[name] for name in chosen[0]} == {name: kernel.name for name, kernel in chosen[0].items()}
        assert set(chosen[0]) == {node.name for node in graph.nodes if not isinstance(node.op, Reshape)}


def test_kernels_without_a_row_take_their_place_in_the_order() -> None:
    node, graph = _convolution()
    plain = [kernel.name for kernel, offer, _ in legal_kernels(node, graph, BOARD.core) if offer is None]
    costs = node_costs(node, graph, BOARD.core, KnownCosts({plain[-1]: 1000, plain[1]: 500}))
    assert [costs[name][1].cycles for name in (plain[1], plain[-1])] == [500, 1000]
    assert 490 < costs[plain[0]][1].cycles < 500, "best first: a hair faster than the next"
    assert all(1000 * 0.998 ** len(plain) < costs[name][1].cycles < 1000 for name in plain[2:-1])


def test_an_offer_without_a_row_costs_what_it_says() -> None:
    node, graph = _convolution()
    kernel, offer, by = next(entry for entry in legal_kernels(node, graph, BOARD.core) if entry[1] is not None)
    assert offer is not None and by is not None
    costs = node_costs(node, graph, BOARD.core, KnownCosts({by.name: 1e6}))
    assert costs[kernel.name][1].cycles == pytest.approx(1e6 - offer.saved_cycles)
    assert costs[kernel.name][1].weight_bytes == 100 + offer.extra_bytes


def _convolution() -> tuple[Node, Graph]:
    maker = NetworkMaker(1, 8, 8, 16)
    graph = maker.finish(maker.conv(maker.input, 16, (1, 1)))
    return graph.nodes[0], graph


def _line(prices: Prices) -> Assignment:
    """Flash from 10 to 110 kB buys cycles with falling returns: cycles = 1e6 + 1e9 / flash bytes."""
    grid = np.arange(10_000, 110_001, 100)
    flash = grid[np.argmin(1e6 + 1e9 / grid + prices.flash * grid)]
    return Assignment({}, 1e6 + 1e9 / flash, float(flash), 1000.0)


def test_the_last_hundredth_of_flash_brings_what_it_must() -> None:
    found, is_limited = spend(_line, PlanOptions(), 1e9)
    assert found is not None and not is_limited
    slope = 1e9 / found.flash_bytes**2  # cycles that one more byte saves
    assert slope * found.flash_bytes / found.cycles == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("limit", [110_000, 60_000, 30_000, 10_500])
def test_a_budget_is_used_up_and_kept(limit: int) -> None:
    found, _ = spend(_line, PlanOptions(flash_bytes=limit), limit)
    assert found is not None and 0.9 * limit <= found.flash_bytes <= limit


def test_the_smallest_plan_where_none_fits() -> None:
    found, is_limited = spend(_line, PlanOptions(flash_bytes=500), 500)
    assert found is not None and is_limited and found.flash_bytes == 10_000


def test_flash_first_takes_less_and_latency_first_is_faster() -> None:
    fast, small = (spend(_line, PlanOptions(optimize), 1e9)[0] for optimize in ("latency", "flash"))
    assert fast is not None and small is not None
    assert small.flash_bytes < fast.flash_bytes and fast.cycles < small.cycles


def test_speed_may_take_what_an_interpreter_takes() -> None:
    assert flash_limit(5000, BOARD, PlanOptions()) == 5000 + 65536
    assert flash_limit(5000, BOARD, PlanOptions(flash_bytes=1000)) == 1000
    assert flash_limit(5 << 20, BOARD, PlanOptions()) == BOARD.flash.bytes


def test_every_timed_core_has_a_table() -> None:
    """Boards whose memories make a difference may have one of their own; else their core's serves."""
    timed = tabled_targets()
    assert {board.name for board in timed if board.name == board.core.name and board.emulated == "unicorn"} <= set(
        TABLES
    )
    assert set(TABLES) <= {board.name for board in timed}


@pytest.mark.parametrize("target", TABLES)
def test_tables_name_kernels_of_their_target(target: str) -> None:
    table = shipped_table(target)
    core = next(board.core for board in tabled_targets() if board.name == target)
    assert table is not None and set(table.models) <= _kernel_names(core), "made anew by python -m midge.tune.defaults"
    assert all(model.error < 0.6 and model.samples >= 2 and any(model.cycles) for model in table.models.values())


def _kernel_names(core: Core) -> set[str]:
    graphs = [case.build(np.random.default_rng(0)) for cases in CASES.values() for case in cases]
    return {
        kernel.name for graph in (*graphs, *layers()) for kernel, _, _ in legal_kernels(graph.nodes[0], graph, core)
    }


def test_a_broken_table_is_named() -> None:
    row = {"cycles": [1, 0, 0, 0, 0, 0, -1], "weights": [0, 0, 0], "code": [0, 0], "error": 0.1, "samples": 3}
    for text in ("[]", "{", json.dumps({"kernels": {"k": row}}), json.dumps({"kernels": {"k": {}}})):
        with pytest.raises(InternalError, match=r"tables/x\.json"):
            parse_table("tables/x.json", text)


def test_boards_without_a_table_take_their_core_s() -> None:
    from midge.targets import find_board

    own = shipped_table("nucleo-l4r5zi")
    assert own is not None and shipped_costs(find_board("nucleo-l4r5zi")) is own
    assert shipped_costs(replace(find_board("nucleo-l4r5zi"), name="another")) is shipped_table("cortex-m4")


def test_fits_find_the_terms_that_were_there() -> None:
    rng = np.random.default_rng(3)
    terms = ("layer", "rows", "lines", "pixels", "results", "macs", "operands", "channels", "weights", "products")
    samples = []
    for _ in range(30):
        sizes = {term: 1.0 if term == "layer" else float(rng.integers(1, 1000)) for term in terms}
        cycles = 100 + 5 * sizes["results"] + 1.25 * sizes["macs"]
        samples.append(Sample(sizes, cycles, 8 * sizes["channels"] + sizes["weights"], 200 + sizes["products"]))
    model = fit(samples)
    assert model.error < 1e-3 and model.samples == 30
    assert model.cycles == pytest.approx((100, 0, 0, 0, 5, 1.25, 0), abs=0.2)
    assert model.weights == pytest.approx((0, 8, 1), abs=0.01)


def test_least_squares_stay_above_zero() -> None:
    a = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert non_negative_least_squares(a, np.array([2.0, -1.0, 1.5])) == pytest.approx([1.75, 0.0])


def test_bindings_without_a_table_are_those_of_the_order() -> None:
    """A core that no table is for: each node has the first kernel that does not refuse."""
    node, graph = _convolution()
    _, bindings = bind_with_copies(graph, BOARD.core, {})
    assert bindings[node.name].kernel is legal_kernels(node, graph, BOARD.core)[0][0]
