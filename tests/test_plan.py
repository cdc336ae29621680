"""The planner: rings are high enough and no higher, buffers do not overlap, packings are proven."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkMaker, random_network, random_network_of_parts
from wild_networks import PARTS, wild_network

from midge.errors import UnsupportedError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ops.base import Activation, Padding, Rounding
from midge.ops.conv2d import Conv2D
from midge.passes import run_passes
from midge.plan import Kind, PlanOptions, bind_with_copies, plan
from midge.plan.arena import ALIGN_BYTES, Request, pack
from midge.plan.bound import least_bytes
from midge.plan.choose import bind_kernels
from midge.plan.order import schedule
from midge.plan.pushed import refuse_rows
from midge.plan.replay import check
from midge.plan.storage import Network, build_network
from midge.targets import core_board, find_board

BOARD = core_board("cortex-m3")


def network_of(graph: Graph) -> Network:
    return build_network(*bind_with_copies(graph, BOARD.core, {}))


MAKERS = st.sampled_from([random_network, random_network_of_parts])


@settings(max_examples=120, deadline=None)
@given(MAKERS, st.integers(0, 10_000), st.integers(0, 2**16))
def test_rings_are_sufficient_and_minimal(maker: Callable[[int], Graph], seed: int, chosen: int) -> None:
    network = network_of(maker(seed))
    candidates = [i for i, tensor in enumerate(network.tensors) if tensor.producer is not None]
    whole = frozenset(tensor for bit, tensor in enumerate(candidates) if chosen >> bit & 1)
    found = schedule(network, whole)
    heights = [life.height for life in found.lives]
    assert check(network, found, heights) is None
    for index, storage in enumerate(network.storages):
        if heights[index] > 1 and not storage.is_flat:
            lower = [height - (position == index) for position, height in enumerate(heights)]
            assert check(network, found, lower) is not None, f"{storage} could be lower"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_rings_are_sufficient_for_wild_networks(seed: int) -> None:
    network = network_of(run_passes(wild_network(seed + PARTS * (seed % 2)), BOARD))
    found = schedule(network, frozenset())
    assert check(network, found, [life.height for life in found.lives]) is None


def test_padding_is_there_before_a_window_that_reads_nothing_else() -> None:
    """The first two rows of the second convolution are made of padding alone, before the first one has run."""
    maker = NetworkMaker(3, 6, 6, 3)
    x = maker.conv(maker.input, 4, (1, 1))
    op = Conv2D(1, 1, 1, 1, Padding(2, 3, 0, 0), Activation.NONE, Rounding.DOUBLE)
    y = maker._layer(op, [x, *maker._weights((2, 1, 1, 4), 0, 2)], (1, 11, 6, 2))
    network = network_of(maker.finish(y))
    found = schedule(network, frozenset())
    assert check(network, found, [life.height for life in found.lives]) is None
    assert [action.kind for action in found.actions[:3]] == [Kind.CLEAR, Kind.RUN, Kind.RUN]


@settings(max_examples=60, deadline=None)
@given(
    MAKERS, st.integers(0, 10_000), st.sampled_from(["cortex-m0plus", "cortex-m3", "cortex-m4"]),
    st.sampled_from(["latency", "ram"]), st.sampled_from([None, 1]),
)  # fmt: skip
def test_no_two_live_buffers_overlap(maker: Callable[[int], Graph], seed: int, core: str, optimize: str,
                                     ram_bytes: int | None) -> None:  # fmt: skip
    """Working memory of single steps too; a budget that nothing meets makes the search go as far as it can."""
    made = plan(maker(seed), core_board(core), PlanOptions(optimize, ram_bytes))
    for a, b in itertools.combinations(made.buffers, 2):
        if any(first <= end and start <= last for first, last in a.spans for start, end in b.spans):
            assert a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset, f"{a.name} and {b.name}"
    assert all(buffer.offset + buffer.bytes <= made.arena_bytes for buffer in made.buffers)
    assert made.lower_bound_bytes <= made.arena_bytes
    graph = maker(seed)
    assert least_bytes(graph, made.board.core, graph.inputs if made.input_rows else ()) <= made.arena_bytes


def test_bounds_that_are_met() -> None:
    """The whole input before the first step; two outputs after the last one; a step with what a state holds."""
    maker = NetworkMaker(4, 16, 8, 4)
    frame = maker.finish(maker.pool(maker.conv(maker.input, 2, (1, 1)), (2, 2), 2, average=False))
    assert least_bytes(frame, BOARD.core, ()) == 16 * 8 * 4
    assert least_bytes(frame, BOARD.core, frame.inputs) < 16 * 8 * 4
    maker = NetworkMaker(5, 1, 1, 8)
    pair = maker.finish(maker.dense(maker.input, 24), maker.dense(maker.input, 40))
    assert least_bytes(pair, BOARD.core, ()) == 24 + 40
    assert plan(pair, BOARD, PlanOptions("ram")).arena_bytes <= 24 + 40 + 8


def test_a_chain_runs_in_rings() -> None:
    maker = NetworkMaker(1, 32, 16, 4)
    x = maker.conv(maker.input, 8, (3, 3))
    y = maker.conv(maker.depthwise(x, (3, 3)), 8, (1, 1))
    graph = maker.finish(maker.pool(y, (32, 16), 1, average=True))
    made = plan(graph, BOARD, PlanOptions())
    by_name = {buffer.name: buffer for buffer in made.buffers}
    assert by_name[x].height == 3 and by_name[x].is_ring
    assert by_name[y].height == 1
    assert made.proven_minimal


def test_an_addition_overwrites_its_operand() -> None:
    maker = NetworkMaker(2, 8, 8, 4)
    a = maker.conv(maker.input, 4, (1, 1))
    inner = maker.conv(a, 4, (3, 3))
    total = maker.add(a, inner)
    graph = maker.finish(maker.conv(total, 4, (3, 3)))
    made = plan(graph, BOARD, PlanOptions())
    task = next(task for task in made.tasks if task.node.outputs == (total,))
    assert task.outputs[0] in task.inputs


def test_padded_readers_of_the_input_get_a_copy() -> None:
    maker = NetworkMaker(3, 6, 6, 3)
    graph = maker.finish(maker.conv(maker.input, 4, (3, 3)))
    made = plan(graph, BOARD, PlanOptions())
    assert [task.node.op.name for task in made.tasks] == ["copy", "conv2d"]
    assert run_graph(made.graph, [np.zeros((1, 6, 6, 3), np.int8)])[0].shape == (1, 6, 6, 4)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_an_input_that_nobody_reads_is_kept(core: str) -> None:
    maker = NetworkMaker(4, 6, 6, 3)
    unread = maker._value("z", (1, 4, 4, 2))
    maker.builder.inputs.append(unread)
    made = plan(maker.finish(maker.conv(maker.input, 4, (1, 1))), core_board(core), PlanOptions())
    assert made.graph.inputs == (maker.input, unread)


def test_the_plan_is_deterministic() -> None:
    first, second = (plan(random_network(17), BOARD, PlanOptions()) for _ in range(2))
    assert (first.schedule, first.buffers) == (second.schedule, second.buffers)


def test_the_schedule_runs_every_step_once() -> None:
    made = plan(random_network(5), BOARD, PlanOptions())
    steps = [(action.target, action.index) for action in made.schedule if action.kind is Kind.RUN]
    expected = [(number, i) for number, task in enumerate(made.tasks) for i in range(len(task.binding.steps))]
    assert sorted(steps) == expected


def test_all_nodes_without_a_kernel_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from midge.kernels.conv2d.portable import Conv2DS8

    monkeypatch.setattr(Conv2DS8, "refuse", lambda *_: "not today")
    maker = NetworkMaker(4, 6, 6, 3)
    graph = maker.finish(maker.conv(maker.conv(maker.input, 4, (3, 3)), 2, (1, 1)))
    with pytest.raises(UnsupportedError) as caught:
        bind_kernels(graph, BOARD.core, {})
    assert caught.value.message().count("conv2d_s8_direct__portable: not today") == 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12), st.integers(0, 6)), max_size=9))
def test_packings_are_valid_and_proofs_hold(rows: list[tuple[int, int, int]]) -> None:
    requests = [Request(size, ((first, first + span),)) for size, first, span in rows]
    packing = pack(requests)
    for (a, at), (b, bt) in itertools.combinations(zip(requests, packing.offsets, strict=True), 2):
        if a.spans[0][0] <= b.spans[0][1] and b.spans[0][0] <= a.spans[0][1]:
            assert at + a.bytes <= bt or bt + b.bytes <= at
    assert all(offset % ALIGN_BYTES == 0 for offset in packing.offsets)
    assert packing.proven_minimal  # nine buffers are few enough to search them all
    assert packing.lower_bound_bytes <= packing.bytes


def test_a_packing_above_the_bound_is_proven_by_search() -> None:
    """Five buffers whose lives form a cycle of overlaps: the lower bound can't be met, and the search shows it."""
    rows = ((8, 0, 3), (8, 2, 5), (12, 4, 7), (4, 0, 1), (4, 6, 9), (8, 8, 9), (4, 1, 8))
    requests = [Request(size, ((first, last),)) for size, first, last in rows]
    packing = pack(requests)
    assert packing.proven_minimal


def test_memory_is_free_between_two_spans() -> None:
    """Two rows that are never alive at once share memory, although their lives interleave."""
    packing = pack([Request(8, ((0, 1), (4, 5))), Request(8, ((2, 3), (6, 7)))])
    assert packing.bytes == packing.lower_bound_bytes == 8


def test_a_row_that_is_read_at_once_is_free_in_between() -> None:
    maker = NetworkMaker(7, 16, 8, 8)
    x = maker.conv(maker.input, 8, (3, 3))
    for _ in range(2):
        x = maker.conv(maker.depthwise(x, (3, 3)), 8, (1, 1))
    made = plan(maker.finish(maker.pool(x, (16, 8), 1, average=True)), BOARD, PlanOptions())
    rows = [buffer for buffer in made.buffers if buffer.height == 1 and len(buffer.spans) > 4]
    assert len(rows) >= 2 and len({buffer.offset for buffer in rows}) < len(rows)


def test_ram_first_takes_less() -> None:
    """On a core with kernels for widened rows, which are faster and larger."""
    maker = NetworkMaker(9, 16, 16, 8)
    x = maker.conv(maker.conv(maker.input, 8, (3, 3)), 8, (3, 3))
    graph = maker.finish(maker.pool(x, (16, 16), 1, average=True))
    fast, small = (plan(graph, core_board("cortex-m4"), PlanOptions(optimize=goal)) for goal in ("latency", "ram"))
    assert small.arena_bytes < fast.arena_bytes


def test_ram_that_is_left_goes_to_faster_kernels() -> None:
    """Kernels that widen or hold weights in RAM come where latency is first and the budget leaves room."""
    maker = NetworkMaker(1, 16, 16, 8)
    graph = maker.finish(maker.conv(maker.input, 16, (3, 3)))
    board = find_board("nucleo-l4r5zi")

    def kernels(options: PlanOptions) -> list[str]:
        made = plan(graph, board, options)
        assert options.ram_bytes is None or made.arena_bytes <= options.ram_bytes
        return [task.binding.kernel.name for task in made.tasks]

    fastest, needed = kernels(PlanOptions()), plan(graph, board, PlanOptions()).arena_bytes
    assert kernels(PlanOptions(ram_bytes=needed)) == fastest
    assert kernels(PlanOptions(ram_bytes=needed - 1)) != fastest
    assert plan(graph, board, PlanOptions(optimize="ram")).arena_bytes <= needed


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["cortex-m0plus", "cortex-m3", "cortex-m4"]),
    st.sampled_from(["rows", "frame"]),
)  # fmt: skip
def test_no_plan_is_below_the_bound(seed: int, core: str, input_by: str) -> None:
    """Plans of every aim, from whatever kernels they are made."""
    graph = random_network(seed)
    by = input_by if refuse_rows(graph) is None else "frame"
    smallest = plan(graph, core_board(core), PlanOptions("ram", input_by=by))
    assert smallest.any_plan_bytes is not None and 0 < smallest.any_plan_bytes <= smallest.arena_bytes
    for options in (PlanOptions(input_by=by), PlanOptions(input_by=by, ram_bytes=1), PlanOptions("flash", input_by=by)):
        assert smallest.any_plan_bytes <= plan(graph, core_board(core), options).arena_bytes


def test_a_layer_alone_meets_the_bound_but_for_what_outlives_it() -> None:
    """Fully connected: operand, result and no more are alive, and every plan needs both."""
    maker = NetworkMaker(4, 1, 8, 4)
    made = plan(maker.finish(maker.dense(maker.input, 4)), BOARD, PlanOptions("ram"))
    assert made.any_plan_bytes == made.arena_bytes == 32 + 4
