"""Concatenations and slices that move nothing: which are left out of the plan and which are not; exact results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from networks import NetworkMaker

import midge
from midge.ir.graph import Graph, State
from midge.ir.types import DType, TensorType
from midge.ops.resize_bilinear import ResizeBilinear
from midge.plan import PlanOptions, bind_with_copies, plan
from midge.plan.leave import Moves, price_of_moves, settled
from midge.plan.pieces import Piece
from midge.plan.rings import best_order
from midge.plan.views import Views, find_views
from midge.targets import core_board

CORES = ("cortex-m4", "cortex-m0plus", "rv32imc")
MOVES = ("concatenation", "rearrange", "copy")


def maker_of(channels: int = 8, rows: int = 6, columns: int = 5) -> tuple[NetworkMaker, str]:
    maker = NetworkMaker(11, rows, columns, channels)
    return maker, maker.conv(maker.input, channels, (1, 1))


def inception(axis: int) -> Graph:
    """Three branches from one value, side by side."""
    maker, x = maker_of()
    a = maker.conv(x, 8, (1, 1))
    branches = [a, maker.conv(maker.conv(x, 4, (1, 1)), 8, (3, 3), like=a), maker.depthwise(x, (3, 3), like=a)]
    return maker.finish(maker.conv(maker.concat(branches, axis), 4, (1, 1)))


def dense_block() -> Graph:
    """Each layer reads all before it; all lie in one memory."""
    maker, x = maker_of()
    for _ in range(3):
        x = maker.concat([x, maker.conv(x, 4, (1, 1), like=x)], 3)
    return maker.finish(maker.pool(x, (6, 5), 1, average=True))


def split(axis: int) -> Graph:
    """Two halves, one through a layer, together again."""
    maker, x = maker_of(rows=6, columns=4)
    half = maker.builder.values[x].type.shape[axis] // 2
    a, b = maker.part(x, axis, 0, half), maker.part(x, axis, half, half)
    last = maker.concat([maker.depthwise(a, (1, 1), like=x), maker.depthwise(b, (1, 1), like=x)], axis)
    return maker.finish(maker.conv(last, 4, (1, 1)))


def gates() -> Graph:
    """Four parts of a vector, as of an LSTM; three are overwritten where they lie."""
    maker = NetworkMaker(12, 1, 1, 16)
    x = maker.dense(maker.input, 32)
    parts = [maker.part(x, 1, 8 * gate, 8) for gate in range(4)]
    sums = maker.add(maker.add(parts[0], parts[1]), maker.add(parts[2], parts[3]))
    return maker.finish(maker.dense(sums, 3))


def streaming() -> Graph:
    """A convolution over time: rows of earlier runs lie before the new one, and move up after each run."""
    maker = NetworkMaker(13, 1, 1, 8)
    new = maker.conv(maker.input, 8, (1, 1))
    type_ = maker.builder.values[new].type
    kept = TensorType(type_.dtype, (1, 4, 1, 8), type_.quantization)
    before = maker.builder.value("before", kept)
    joined = maker.concat([before, new], 1)
    after = maker.part(joined, 1, 1, 4)
    initial = np.full(kept.shape, kept.zero_point, np.int8)
    initial.setflags(write=False)
    maker.builder.states.append(State(before, after, initial))
    return maker.finish(maker.conv(joined, 4, (5, 1), same=False))


GRAPHS: dict[str, tuple[Callable[[], Graph], frozenset[str]]] = {
    "rows": (lambda: inception(1), frozenset(CORES)),
    "columns": (lambda: inception(2), frozenset(CORES)),
    "channels": (lambda: inception(3), frozenset(CORES)),
    "split rows": (lambda: split(1), frozenset(CORES)),
    "split columns": (lambda: split(2), frozenset(CORES)),
    "gates": (gates, frozenset(CORES)),
    "streaming": (streaming, frozenset(CORES)),
}
"""With the cores on which nothing is moved."""


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", GRAPHS)
def test_nothing_is_moved_and_results_are_exact(name: str, core: str) -> None:
    make, cores = GRAPHS[name]
    program = midge.compile(make(), core=core)
    moves = [task.node.op.name for task in program.compiled.plan.tasks if task.node.op.name in MOVES[:2]]
    assert core not in cores or moves == []
    assert program.verify(samples=3).mismatches == 0


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m0plus"])
@pytest.mark.parametrize("make", [dense_block, lambda: split(3)])
def test_parts_that_are_read_for_themselves(make: Callable[[], Graph], core: str) -> None:
    """Portable kernels read pixels that lie apart, those for an instruction set do not: then there is a kernel."""
    program = midge.compile(make(), core=core)
    moves = [task.node.op.name for task in program.compiled.plan.tasks if task.node.op.name in MOVES]
    assert core != "cortex-m3" or moves == []
    assert program.verify(samples=3).mismatches == 0


def test_the_memory_of_a_state_is_a_part_of_what_it_is_joined_to() -> None:
    """Five rows, of which four are kept; not four and five."""
    made = plan(streaming(), core_board("cortex-m4"), PlanOptions())
    (state,) = [buffer for buffer in made.buffers if buffer.role == "state"]
    assert (state.height, made.state_bytes) == (5, 32)
    assert [task.node.op.name for task in made.tasks] == ["conv2d", "conv2d"]


def test_gates_are_overwritten_where_they_lie() -> None:
    made = plan(gates(), core_board("cortex-m3"), PlanOptions())
    sums = [task for task in made.tasks if task.node.op.name == "add"]
    assert {task.outputs[0] for task in sums} == {sums[0].inputs[0]}
    assert made.arena_bytes == 16 + 32


def _views(graph: Graph, core: str = "cortex-m3") -> Views:
    return find_views(*bind_with_copies(graph, core_board(core).core, {}))


def test_places() -> None:
    views = _views(inception(3))
    channels = [place.channel for _, place in views.bases.values()]
    assert channels == [0, 8, 16] and all(place.is_pitched for _, place in views.bases.values())
    nested = _views(dense_block()).bases
    assert {base for base, _ in nested.values()} == {"v_7"}
    assert sorted(place.channel for _, place in nested.values()) == [0, 0, 0, 8, 12, 16]


def _refused(make: Callable[[NetworkMaker, str], str], channels: int = 8) -> bool:
    """True where a node of the graph is not left out."""
    maker, x = maker_of(channels)
    graph = maker.finish(make(maker, x))
    moves = [node for node in graph.nodes if node.op.name in MOVES]
    return len(_views(graph).left_out) < len(moves)


@pytest.mark.parametrize(
    ("make", "channels"),
    [
        (lambda maker, x: maker.conv(maker.concat([x, x], 3), 4, (1, 1)), 8),
        (lambda maker, x: maker.conv(maker.concat([maker.input, maker.conv(x, 8, (1, 1), like=maker.input)], 3), 2,
                                     (1, 1)), 8),
        (lambda maker, x: maker.conv(maker.part(x, 1, 1, 3), 4, (3, 3)), 8),
        (lambda maker, x: maker.conv(maker.part(x, 2, 1, 3), 4, (3, 3)), 8),
        (lambda maker, x: maker.part(x, 3, 4, 4), 8),
        (lambda maker, x: maker.conv(maker.concat([x, maker.conv(x, 4, (1, 1), like=x)], 3), 2, (1, 1)), 5),
    ],
    ids=["twice", "the caller's", "padding above", "padding beside", "an output of channels", "odd pixels"],
)  # fmt: skip
def test_what_cannot_lie_in_place(make: Callable[[NetworkMaker, str], str], channels: int) -> None:
    assert _refused(make, channels)


def test_a_kernel_that_writes_pixels_side_by_side_is_given_no_part_of_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = inception(3)
    bound = bind_with_copies(graph, core_board("cortex-m3").core, {})
    assert find_views(*bound).left_out
    (conv,) = {type(binding.kernel) for binding in bound[1].values() if binding.kernel.op.name == "conv2d"}
    monkeypatch.setattr(conv, "most_pitch_bytes", 23)  # the whole has 24 channels
    assert not find_views(*bound).left_out


def test_rows_of_a_piece() -> None:
    """A value of 10 rows, rows 4 to 9 of which are a tensor's first six of seven."""
    piece = Piece("t", 7, 4, 0, 5)
    assert piece.needs([(-1, 1), (3, 5), (8, 10), (10, 9)], 10) == ((0, -1), (0, 1), (4, 5), (6, 5))
    whole = Piece("t", 10, 0, 0, 9)
    assert whole.needs([(-1, 1), (8, 10)], 10) == ((-1, 1), (8, 10))
    assert Piece("t", 7, None, 0, 6).needs([(0, 0)], 1) == ((0, 6),)


def u_shaped() -> Graph:
    """A skip edge that waits for an image of a quarter of the size: in place it waits in rows of twice the width."""
    maker, x = maker_of(rows=32, columns=16)
    small = maker.conv(maker.pool(x, (32, 16), 1, average=True), 8, (1, 1))
    large = maker.builder.value(
        "large", TensorType(DType.INT8, (1, 32, 16, 8), maker.builder.values[x].type.quantization)
    )
    maker.builder.node(ResizeBilinear(32, 16, False, False), [maker.conv(small, 8, (1, 1), like=x)], [large])
    return maker.finish(maker.conv(maker.concat([x, large], 3), 4, (1, 1)))


def test_parts_in_place_give_way_where_they_take_more_memory() -> None:
    graph, bindings = bind_with_copies(u_shaped(), core_board("cortex-m3").core, {})
    (name,) = find_views(graph, bindings).left_out
    moves = Moves(graph, bindings, (), {name: 1000.0})
    peaks = [best_order(moves.network(kept)).peak_bytes for kept in (frozenset(), frozenset({name}))]
    assert peaks[0] > peaks[1] + 2000
    for ram_worth, expected in ((1.0, peaks[1]), (0.0, peaks[0])):
        _, found = settled(moves, None, price_of_moves(1 << 20, 1e6, ram_worth))
        assert found.peak_bytes == expected
    _, found = settled(moves, None, price_of_moves(peaks[1], 1e6, 0.0))
    assert found.peak_bytes == peaks[1]


ZOO = Path(__file__).parents[2] / "shared" / "models" / "zoo" / "models"
STREAMING = {
    "esphome_microwakeword/vad.tflite": (2184, 1),
    "esphome_microwakeword/alexa__9011a815.tflite": (4648, 1),
    "esphome_microwakeword/hey_luna.tflite": (6384, 1),
    "tum_mlonmcu/lstm2.tflite": (240, 0),
}
"""Bytes of rows at most, and moves that are left: the input's rows are the caller's, so one is joined by a kernel."""


@pytest.mark.parametrize("model", STREAMING)
def test_networks_of_the_zoo(model: str) -> None:
    path = ZOO / model
    if not path.exists():
        pytest.skip("the zoo is not there")
    most_bytes, moves = STREAMING[model]
    made = midge.compile(path, core="cortex-m4").compiled.plan
    assert made.arena_bytes <= most_bytes
    assert sum(task.node.op.name in MOVES[:2] for task in made.tasks) == moves
