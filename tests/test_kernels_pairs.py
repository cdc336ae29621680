"""Fully connected layers with two outputs to a half word: sizes of blocks, loops and their rests, sums that wrap."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_trials import Batch, Trial, batches, between

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate, emulate_many
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph
from midge.ir.types import DType
from midge.kernels.fully_connected.armv7em import KERNELS, FullyConnectedS8Pairs
from midge.kernels.fully_connected.pairs import Shape
from midge.ops.base import Activation, Rounding
from midge.ops.cases import case, random_inputs, weighted_operands
from midge.ops.fully_connected import FullyConnected
from midge.plan import PlanOptions, plan
from midge.targets import core_board, find_board
from midge.targets.records import Board

BOARDS = ("cortex-m4", "cortex-m7", "nucleo-l4r5zi")
PAIRS = tuple(kernel for kernel in KERNELS if isinstance(kernel, FullyConnectedS8Pairs))
SIZES = tuple((4 * steps - steps % 4, outputs) for outputs, steps in (
    (1, 11), (2, 12), (3, 13), (4, 17), (5, 20), (6, 23), (7, 33), (8, 41), (9, 10), (10, 19), (11, 47), (12, 31),
    (13, 40), (18, 3), (20, 22), (23, 9),
))  # fmt: skip
"""All sizes of the first block, with and without blocks of six; steps round the lengths of loops."""

MIXED = ((12, 7), (64, 6), (64, 12), (36, 13), (8, 2), (128, 9), (72, 1), (16, 20))


def layer(inputs: int, outputs: int, zero_points: tuple[int, int] = (3, -5), *, per_channel: bool = False,
          activation: Activation = Activation.NONE) -> Graph:  # fmt: skip
    name = f"i{inputs}o{outputs}z{zero_points}{per_channel}"
    op = FullyConnected(activation, Rounding.SINGLE, keep_dims=False)
    made = case(name, op, lambda rng: weighted_operands(
        rng, (1, inputs), (outputs, inputs), (1, outputs), channels=outputs, channel_axis=0, fan_in=inputs,
        zero_points=zero_points, per_channel=per_channel, bias=True, dtype=DType.INT8))  # fmt: skip
    return made.build(np.random.default_rng(zlib.crc32(name.encode())))


def place(name: str) -> Board:
    return find_board(name) if name.startswith("nucleo") else core_board(name)


def differences(board: Board, made: list[Batch], folder: Path) -> list[str]:
    found = []
    for number, batch in enumerate(made):
        image = build(batch.sources, board, folder / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, board, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, board, batch.samples[0]).outputs)
    return found


@pytest.mark.parametrize("board", BOARDS)
def test_kernels_equal_their_references(board: str, tmp_path: Path) -> None:
    on = place(board)
    graphs = [
        layer(inputs, outputs, (3, -5) if i % 2 else (-128, -128), per_channel=i % 3 == 0,
              activation=Activation.NONE if i % 2 else Activation.RELU)
        for i, (inputs, outputs) in enumerate(SIZES)
    ]  # fmt: skip
    chosen = [
        Trial(f"{graph.name} {kernel.name}", graph.nodes[0].name, kernel, between(graph) if i % 2 else graph)
        for i, graph in enumerate(graphs)
        for kernel in PAIRS
        if kernel.refuse(graph.nodes[0], graph, on.core) is None
    ]
    assert len(chosen) >= 2 * len(SIZES)
    part = BOARDS.index(board)
    found = differences(on, list(batches(chosen[part::3], on, 24, "pairs")), tmp_path)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("optimize", ["ram", "flash"])
@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m7"])
def test_layers_that_share_a_function(board: str, optimize: str, tmp_path: Path) -> None:
    """Several sizes and scales, each beside others of its family; all sizes of blocks, and layers without some."""
    on = core_board(board)
    graphs = [
        layer(inputs, outputs, (3, -5), per_channel=i % 4 == 3, activation=(Activation.NONE, Activation.RELU)[i % 2])
        for i, (inputs, outputs) in enumerate(
            ((12, 7), (64, 6), (64, 12), (36, 13), (8, 2), (128, 9), (72, 1), (16, 20))
        )
    ]
    joined = GraphBuilder("shared")
    for i, graph in enumerate(graphs):
        for value in graph.values.values():
            joined.value(f"t{i}_{value.name}", value.type, value.data)
        node = graph.nodes[0]
        joined.node(
            node.op, [name and f"t{i}_{name}" for name in node.inputs], [f"t{i}_{node.outputs[0]}"], name=f"l{i}"
        )
        joined.inputs += [f"t{i}_{name}" for name in graph.inputs]
        joined.outputs += [f"t{i}_{name}" for name in graph.outputs]
    network = joined.build()
    for kernel in (kernel for kernel in PAIRS if kernel.layout.is_natural):
        made = plan(network, on, PlanOptions(optimize=optimize), {node.name: kernel for node in network.nodes})
        sources = emit(made, prefix="shared", command="", model_sha256="")
        assert (
            len({line for line in sources.files["shared.S"].splitlines() if "_shared" in line and line.endswith(":")})
            < 8
        )
        samples = tuple(random_inputs(network, np.random.default_rng(seed)) for seed in range(3))
        image = build(sources, on, tmp_path / kernel.name)
        for sample, outputs in zip(samples, emulate_many(image, sources, on, samples), strict=True):
            expected = run_graph(network, sample)
            assert all(np.array_equal(a.reshape(-1), b.reshape(-1)) for a, b in zip(outputs, expected, strict=True))


@pytest.mark.parametrize("widens", [False, True])
def test_rows_of_a_loop_add_up(widens: bool) -> None:
    """A loop goes round more than once, or is none; with what follows it all steps are taken, and it fits the cache."""
    for loop_bytes in (100, 870, 4096):
        for inputs in range(1, 700):
            shape = Shape(inputs, 12, loop_bytes, pairs_loads=False, widens=widens)
            for is_first in (True, False):
                body, rest = shape.loop(is_first=is_first)
                rounds = (shape.steps - rest) // body
                assert body * rounds + rest == shape.steps and (rounds > 1 or (rounds == 1 and rest == 0))
                assert (body + rest) * 84 <= max(loop_bytes, 84)


def extreme(low: int, high: int) -> Graph:
    """28 inputs, 13 outputs, weights of these magnitudes: `low` in the lower byte of a half word."""
    data = np.where(np.arange(13)[:, None] % 2, low, high) * np.where(np.arange(28) % 3, 1, -1)[None, :]
    return with_weights(layer(28, 13, (127, 0)), data.astype(np.int8))


def with_weights(graph: Graph, weights: np.ndarray) -> Graph:
    builder = GraphBuilder(graph.name)
    for value in graph.values.values():
        data = weights if value.name == graph.nodes[0].inputs[1] else value.data
        builder.value(value.name, value.type, data)
    builder.nodes, builder.inputs, builder.outputs = list(graph.nodes), list(graph.inputs), list(graph.outputs)
    return builder.build()


@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m7"])
def test_extreme_weights_and_inputs(board: str, tmp_path: Path) -> None:
    """The largest sums that the words as they are reach, of inputs that are as far from the zero point as can be."""
    on = core_board(board)
    graphs = [extreme(low, high) for low, high in ((127, 127), (-127, 127), (127, -127), (1, 127))]
    chosen = [
        Trial(f"{i} {kernel.name}", graph.nodes[0].name, kernel, graph)
        for i, graph in enumerate(graphs)
        for kernel in PAIRS
        if kernel.layout.is_natural and kernel.refuse(graph.nodes[0], graph, on.core) is None
    ]
    assert len(chosen) == 2 * len(graphs)
    made = list(batches(chosen, on, 16, "extreme", samples=1))
    signs = np.where(np.arange(28) % 3, 1, -1)[None, :]
    arrays = [np.full((1, 28), q) for q in (-128, 127)] + [np.where(signs * s > 0, 127, -128) for s in (1, -1)]
    samples = tuple((array.astype(np.int8),) * len(made[0].graph.inputs) for array in arrays)
    found = differences(on, [replace(made[0], samples=samples)], tmp_path)
    assert len(made) == 1
    assert not found, "\n".join(found)


def test_a_pair_that_leaves_16_bits_is_refused() -> None:
    weights = np.full((2, 8), -1, np.int8)
    weights[0, 3] = -128
    graph = with_weights(layer(8, 2), weights)
    reasons = {kernel.refuse(graph.nodes[0], graph, core_board("cortex-m4").core) for kernel in PAIRS}
    assert reasons == {"a pair of weights leaves 16 bits"}
