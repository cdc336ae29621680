"""Winograd's convolution: the identity, its ranges, and the kernels where tiles do not come out even."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_trials import Batch, Trial, batches, between

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate, emulate_many
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph
from midge.ir.types import DType, TensorType
from midge.kernels.conv2d.portable import conv2d_window
from midge.kernels.conv2d.winograd import WINOGRAD_KERNELS, Conv2DS8Winograd
from midge.kernels.conv2d.winograd_form import SLOTS, shape_of, transformed
from midge.ops.base import Activation, Case, Padding, Rounding
from midge.ops.cases import random_inputs, window_case
from midge.ops.conv2d import Conv2D
from midge.plan import PlanOptions, plan
from midge.targets import core_board, find_board
from midge.targets.records import Board

SAME = (1, 1, 1, 1)
Sizes = tuple[int, int, int, int]


def conv(h: int, w: int, c: int, o: int, kernel: tuple[int, int] = (3, 3), padding: Sizes = SAME, *, stride_h: int = 1,
         dilation_h: int = 1, activation: Activation = Activation.NONE, zero_points: tuple[int, int] = (3, -5)
         ) -> Case:  # fmt: skip
    """A convolution, its label made of its sizes."""
    op = Conv2D(stride_h, 1, dilation_h, 1, Padding(*padding), activation, Rounding.DOUBLE)
    weights_shape = (o, *kernel, c)
    label = f"{h}x{w} c{c} o{o} k{kernel} p{padding} s{stride_h} d{dilation_h} {activation.name} z{zero_points}"
    return window_case(label, op, (1, h, w, c), weights_shape, op.window(TensorType(DType.INT8, weights_shape)),
                       channels=o, channel_axis=0, fan_in=kernel[0] * kernel[1] * c, zero_points=zero_points,
                       per_channel=True, bias=True, dtype=DType.INT8)  # fmt: skip


CASES = (
    *(conv(h, w, c, o) for h, w, c, o in ((2, 2, 2, 2), (3, 3, 4, 6), (5, 5, 2, 4), (2, 6, 6, 2), (3, 7, 2, 2),
                                          (4, 8, 4, 4), (3, 9, 2, 4), (2, 11, 4, 2), (4, 16, 2, 2), (3, 17, 2, 2))),
    *(conv(h, w, c, o) for h, w, c, o in ((4, 8, 1, 2), (3, 5, 3, 4), (3, 6, 5, 2), (2, 9, 6, 2), (4, 8, 7, 4))),
    conv(6, 7, 4, 4, padding=(0, 0, 0, 0)),
    conv(5, 6, 2, 4, padding=(2, 2, 2, 2)),
    conv(4, 5, 4, 2, padding=(0, 1, 1, 0)),
    conv(1, 12, 8, 4, (1, 3), (0, 0, 1, 1)),
    conv(9, 4, 2, 2, (5, 3), (2, 2, 1, 1), stride_h=2),
    conv(9, 6, 4, 2, (3, 3), (2, 2, 1, 1), dilation_h=2),
    conv(3, 8, 128, 2),
    conv(4, 8, 4, 4, activation=Activation.RELU, zero_points=(-128, -128)),
    conv(5, 4, 4, 2, activation=Activation.RELU6, zero_points=(127, -128)),
    conv(3, 6, 4, 4, zero_points=(-128, 127)),
    conv(3, 4, 2, 2, zero_points=(127, 127)),
)  # fmt: skip


def built(case: Case) -> Graph:
    return case.build(np.random.default_rng(zlib.crc32(case.name.encode())))


def fitting(graph: Graph, board: Board) -> list[Conv2DS8Winograd]:
    return [kernel for kernel in WINOGRAD_KERNELS if kernel.refuse(graph.nodes[0], graph, board.core) is None]


def differences(board: Board, made: list[Batch], folder: Path) -> list[str]:
    found = []
    for number, batch in enumerate(made):
        image = build(batch.sources, board, folder / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, board, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, board, batch.samples[0]).outputs)
    return found


@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m7", "nucleo-l4r5zi"])
def test_kernels_equal_their_references(board: str, tmp_path: Path) -> None:
    """Every case under every kernel that takes it, each core at every third of them, alone and between other layers."""
    on = find_board(board) if board.startswith("nucleo") else core_board(board)
    graphs = [(case, built(case)) for case in CASES]
    chosen = [
        Trial(f"{case.name} {kernel.name}", graph.nodes[0].name, kernel, placed)
        for case, graph in graphs
        for kernel in fitting(graph, on)
        for placed in (graph, between(graph))
    ]
    part = ["cortex-m4", "cortex-m7", "nucleo-l4r5zi"].index(board)
    found = differences(on, list(batches(chosen[part::3], on, 24, "winograd")), tmp_path)
    assert len(chosen) > 150
    assert not found, "\n".join(found)


def with_weights(graph: Graph, data: np.ndarray) -> Graph:
    builder = GraphBuilder("extreme")
    for value in graph.values.values():
        builder.value(value.name, value.type, data if value.name == "w" else value.data)
    builder.nodes, builder.inputs, builder.outputs = list(graph.nodes), list(graph.inputs), list(graph.outputs)
    return builder.build()


def test_extreme_weights_and_inputs(tmp_path: Path) -> None:
    """All weights and inputs at the ends of their ranges: the largest transformed values that there are."""
    board = core_board("cortex-m4")
    plain = built(conv(4, 8, 32, 4, zero_points=(-128, 0)))
    alternating = np.where(np.arange(3) % 2, -128, 127).astype(np.int8)
    weights = np.empty((4, 3, 3, 32), np.int8)
    weights[0], weights[1] = -128, 127
    weights[2] = alternating[None, :, None]
    weights[3] = (alternating[:, None] ^ alternating[None, :])[..., None]
    graph = with_weights(plain, weights)
    kernels = [kernel for kernel in fitting(graph, board) if kernel.layout.is_natural]
    assert len(kernels) == 3
    made = list(
        batches([Trial(k.name, graph.nodes[0].name, k, graph) for k in kernels], board, 8, "extreme", samples=1)
    )
    assert len(made) == 1
    stripes = np.broadcast_to(np.where(np.arange(8) % 2, 127, -128)[None, None, :, None], (1, 4, 8, 32))
    checks = np.where((np.indices((4, 8)).sum(0) // 2 % 2)[None, :, :, None], 127, -128) + np.zeros((1, 1, 1, 32))
    arrays = [np.full((1, 4, 8, 32), q) for q in (-128, 127)] + [stripes, -1 - stripes, checks, -1 - checks]
    samples = tuple((array.astype(np.int8),) * len(made[0].graph.inputs) for array in arrays)
    found = differences(board, [replace(made[0], samples=samples)], tmp_path)
    assert not found, "\n".join(found)


def halving(a: np.ndarray, b: np.ndarray, sign: int) -> np.ndarray:
    """`SHADD16` and `SHSUB16`; the operands and the result are 16-bit values."""
    both = a.astype(np.int64) + sign * b
    assert np.abs(a).max() < 2**15 and np.abs(b).max() < 2**15
    return both >> 1


def four(d: list[np.ndarray]) -> list[np.ndarray]:
    """Transformed inputs in the order of the slots."""
    by_name = {1: (d[1], d[2], 1), 2: (d[2], d[1], -1), 0: (d[0], d[2], -1), 3: (d[3], d[1], -1)}
    return [halving(*by_name[slot]) for slot in SLOTS]


def two(m: Sequence[Any]) -> list[Any]:
    """Two outputs of four products in the order of the slots."""
    m1, m2, m0, m3 = m
    return [m0 + m1 + m2, m1 - m2 + m3]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-128, 127), st.booleans())
def test_the_identity_is_exact(seed: int, zero_point: int, extreme: bool) -> None:
    """Sums of 32 bits that wrap on their way end at those of the plain convolution, for one and for two dimensions."""
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 9))
    draw = (lambda shape: rng.choice([-128, 127], shape)) if extreme else (lambda shape: rng.integers(-128, 128, shape))
    q, w = draw((4, 4, channels)), draw((1, 3, 3, channels)).astype(np.int8)
    d = (q - zero_point) << 6
    plain = np.array([
        [int((d[r : r + 3, c : c + 3] * w[0].astype(np.int64)).sum()) for c in range(2)] for r in range(2)
    ])  # fmt: skip
    planar = transformed(w, planar=True).astype(np.int64)[0]
    rows = four([d[r] for r in range(4)])
    products = [[(v * planar[i, j]).sum() for j, v in enumerate(four(list(row)))] for i, row in enumerate(rows)]
    columns = [two(line) for line in products]
    results = np.array([two([line[c] for line in columns]) for c in range(2)]).T
    assert ((results - plain) % 2**32 == 0).all()
    assert (results == plain).all()
    along = transformed(w, planar=False).astype(np.int64)[0, 0].reshape(4, 3, channels)
    for r in range(2):
        sums = [sum((four(list(d[r + tap]))[j] * along[j, tap]).sum() for tap in range(3)) for j in range(4)]
        assert two(sums) == plain[r].tolist()


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (conv(4, 8, 4, 3), "it makes an odd number of channels"),
        (conv(4, 1, 4, 4), "the result is smaller than a tile"),
        (conv(4, 8, 4, 4, (3, 5)), "a row of taps is not three taps of stride 1"),
        (conv(4, 8, 4, 4, (5, 3)), "its taps are not 3x3 of stride 1"),
        (conv(1, 8, 4, 4), "the result is smaller than a tile"),
        (conv(2, 8, 512, 2), "its pixels lie too far apart"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_refusals(case: Case, reason: str) -> None:
    graph = built(case)
    square = next(kernel for kernel in WINOGRAD_KERNELS if kernel.planar)
    assert square.refuse(graph.nodes[0], graph, core_board("cortex-m4").core) == reason


@pytest.mark.parametrize(
    ("columns", "tiles"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (8, 4), (12, 3), (16, 4), (32, 4)]
)
def test_blocks_cover_a_row(columns: int, tiles: int) -> None:
    graph = built(conv(2, columns, 4, 4))
    shape = shape_of(conv2d_window(graph.nodes[0], graph), 4096, planar=True)
    assert shape.tiles == tiles
    assert shape.block_columns * (shape.blocks - 1) < columns <= shape.block_columns * shape.blocks
    assert 0 < shape.last_advance <= shape.block_columns


def test_rows_of_one_step_lie_apart(tmp_path: Path) -> None:
    """A reader of every other row, the odd ones, would do with a ring of one; the step still makes two."""
    board = core_board("cortex-m4")
    builder = GraphBuilder.of(built(conv(6, 8, 4, 4)))
    data = np.random.default_rng(1).integers(-128, 128, (4, 1, 3, 4), np.int8)
    weights = builder.value("w2", TensorType(DType.INT8, data.shape, builder.values["w"].type.quantization), data)
    y_type = builder.values["y"].type
    reader = Conv2D(2, 1, 1, 1, Padding(1, 0, 1, 1), Activation.NONE, Rounding.DOUBLE)
    builder.outputs[0] = builder.value("z", TensorType(DType.INT8, (1, 4, 8, 4), y_type.quantization))
    builder.node(reader, ["y", weights, None], ["z"], name="reader")
    graph = builder.build()
    square = next(kernel for kernel in WINOGRAD_KERNELS if kernel.planar and kernel.layout.fraction_bits is not None)
    pinned = {graph.nodes[0].name: square}
    made = plan(graph, board, PlanOptions(), pinned)
    assert [buffer.height for buffer in made.buffers if buffer.name == "y"] == [2]
    sources = emit(made, prefix="apart", command="", model_sha256="")
    image = build(sources, board, tmp_path)
    x = random_inputs(graph, np.random.default_rng(0))
    for found, wanted in zip(emulate(image, sources, board, x).outputs, run_graph(graph, x), strict=True):
        np.testing.assert_array_equal(found, wanted)
