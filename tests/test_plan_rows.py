"""Input pushed by rows: the caller's row is the only one in memory, and results are those of a whole frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NetworkMaker, random_network

import midge
from midge.emulate import fixed_pattern
from midge.errors import UnsupportedError
from midge.ir.interpret import run_graph
from midge.ops.add import Add
from midge.ops.base import Activation
from midge.plan import PlanOptions, bind_with_copies, plan
from midge.plan.order import schedule
from midge.plan.pushed import refuse_rows
from midge.plan.replay import check
from midge.plan.storage import build_network
from midge.targets import core_board

BY_ROWS = PlanOptions(input_by="rows")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["cortex-m0plus", "cortex-m3", "cortex-m4"]))
def test_rings_are_sufficient_and_minimal(seed: int, core: str) -> None:
    """The replay also checks that the step that is given row r reads this row and no other."""
    graph, bindings = bind_with_copies(random_network(seed), core_board(core).core, {}, by_rows=True)
    network = build_network(graph, bindings, pushed=graph.inputs)
    found = schedule(network, frozenset())
    heights = [life.height for life in found.lives]
    assert check(network, found, heights) is None
    assert [height for height, storage in zip(heights, network.storages, strict=True) if storage.is_pushed] == [0]
    for index, storage in enumerate(network.storages):
        if heights[index] > 1 and not storage.is_flat:
            lower = [height - (position == index) for position, height in enumerate(heights)]
            assert check(network, found, lower) is not None, f"{storage} could be lower"


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m4"])
@pytest.mark.parametrize("seed", [3, 8])
def test_results_are_exact(seed: int, core: str) -> None:
    """Several samples one after the other: the end of one inference leaves nothing behind for the next."""
    program = midge.compile(random_network(seed), core=core, input_by="rows")
    assert program.verify(samples=4).mismatches == 0
    result = program.run()
    assert result.input_by == "rows"
    expected = run_graph(program.model.graph, [fixed_pattern(port.type) for port in program.inputs])
    for found, wanted in zip(result.outputs, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_no_frame_is_in_memory() -> None:
    maker = NetworkMaker(3, 64, 16, 3)
    x = maker.conv(maker.input, 4, (3, 3))
    graph = maker.finish(maker.pool(x, (64, 16), 1, average=True))
    by_frame, by_rows = (plan(graph, core_board("cortex-m4"), PlanOptions(input_by=by)) for by in ("frame", "rows"))
    assert by_rows.arena_bytes <= by_frame.arena_bytes - 64 * 16 * 3
    assert (by_frame.input_rows, by_rows.input_rows) == (0, 64)
    (pushed,) = [buffer for buffer in by_rows.buffers if buffer.role == "caller"]
    assert pushed.bytes == 0


def test_a_kernel_that_reads_row_after_row_reads_the_callers() -> None:
    maker = NetworkMaker(5, 8, 8, 3)
    graph = maker.finish(maker.pool(maker.input, (1, 1), 1, average=False))
    made = plan(graph, core_board("cortex-m3"), BY_ROWS)
    assert [task.node.op.name for task in made.tasks] == ["max_pool2d"]


def test_rows_are_taken_where_ram_comes_first() -> None:
    graph = random_network(3)
    for goal, rows in (("latency", 0), ("flash", 0), ("ram", graph.type(graph.inputs[0]).rows)):
        assert plan(graph, core_board("cortex-m4"), PlanOptions(goal)).input_rows == rows
    assert plan(graph, core_board("cortex-m4"), PlanOptions("ram", input_by="frame")).input_rows == 0


def test_what_cannot_be_pushed_is_refused_with_its_reason() -> None:
    maker = NetworkMaker(5, 1, 8, 3)
    single = maker.finish(maker.conv(maker.input, 2, (1, 1)))
    assert refuse_rows(single) == "its input is a single row"
    with pytest.raises(UnsupportedError, match="single row"):
        plan(single, core_board("cortex-m3"), BY_ROWS)
    assert plan(single, core_board("cortex-m3"), PlanOptions("ram")).input_rows == 0
    maker = NetworkMaker(6, 4, 4, 2)
    other = maker._value("z", (1, 4, 4, 2))
    maker.builder.inputs.append(other)
    maker.builder.node(Add(Activation.NONE), [maker.input, other], [total := maker._value("t", (1, 4, 4, 2))])
    assert refuse_rows(maker.finish(total)) == "it has 2 inputs"


MLPERF = Path(__file__).parents[2] / "shared" / "models" / "mlperf-tiny"


@pytest.mark.slow
@pytest.mark.parametrize(("model", "board"), [("kws_ref_model", "bbc-microbit-v1"), ("vww_96_int8", "nrf51-dk")])
def test_small_boards_run_large_models(model: str, board: str) -> None:
    """16 KB of RAM for the keywords, 32 KB for the visual wake words."""
    path = MLPERF / f"{model}.tflite"
    if not path.exists():
        pytest.skip("the MLPerf Tiny models are not there")
    assert midge.compile(path, board=board, optimize="ram").verify(samples=1).mismatches == 0
