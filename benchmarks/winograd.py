"""What Winograd's form costs and saves: `python benchmarks/winograd.py [--core CORE | --board BOARD]`.

Prints, for 3x3 convolutions of some sizes, cycles per multiply-accumulate and flash of each kernel on the emulated
target; every output is compared with the NumPy reference's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ir.types import DType, TensorType
from midge.kernels.base import Kernel
from midge.kernels.conv2d import armv7em, winograd
from midge.kernels.layouts import WIDE
from midge.ops.base import Activation, Padding, Rounding
from midge.ops.cases import random_inputs, window_case
from midge.ops.conv2d import Conv2D
from midge.plan import PlanOptions, plan
from midge.targets import core_board, find_board
from midge.targets.records import Board

SIZES = ((32, 16, 16), (16, 32, 32), (8, 64, 64), (10, 24, 24), (7, 48, 48))
"""Rows and columns, channels in, channels out."""


def main() -> None:
    """A row of Markdown for each size and kernel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", default="cortex-m4")
    parser.add_argument("--board")
    chosen = parser.parse_args()
    board = find_board(chosen.board) if chosen.board else core_board(chosen.core)
    print("| rows, columns, channels | kernel | cycles | per MAC | flash, bytes | scratch, bytes |")
    print("|---|---|---:|---:|---:|---:|")
    for side, inputs, outputs in SIZES:
        graph = _layer(side, inputs, outputs)
        for kernel in (*armv7em.KERNELS, *armv7em.HALVES_KERNELS, *winograd.WINOGRAD_KERNELS):
            node = graph.nodes[0]
            if kernel.refuse(node, graph, board.core) is None and kernel.bind(node, graph).writes == (WIDE,):
                print(f"| {side}x{side}, {inputs} → {outputs} | {_row(graph, kernel, board)} |", flush=True)


def _layer(side: int, inputs: int, outputs: int) -> Graph:
    op = Conv2D(1, 1, 1, 1, Padding(1, 1, 1, 1), Activation.RELU, Rounding.DOUBLE)
    weights_shape = (outputs, 3, 3, inputs)
    window = op.window(TensorType(DType.INT8, weights_shape))
    return window_case("layer", op, (1, side, side, inputs), weights_shape, window, channels=outputs, channel_axis=0,
                       fan_in=9 * inputs, zero_points=(-128, -128), per_channel=True, bias=True, dtype=DType.INT8
                       ).build(np.random.default_rng(0))  # fmt: skip


def _row(graph: Graph, kernel: Kernel, board: Board) -> str:
    node = graph.nodes[0]
    made = plan(graph, board, PlanOptions(), {node.name: kernel})
    sources = emit(made, prefix="layer", command="", model_sha256="")
    inputs = random_inputs(graph, np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        image = build(sources, board, Path(folder))
        trace = emulate(image, sources, board, inputs)
    for found, expected in zip(trace.outputs, run_graph(graph, inputs), strict=True):
        np.testing.assert_array_equal(found, expected)
    layer = next(layer for layer in trace.layers if layer.op == node.op.name)
    assert layer.cycles is not None
    scratch_bytes = kernel.bind(node, graph).scratch_bytes
    name = kernel.name.removeprefix("conv2d_s8_").removesuffix("__armv7em")
    return (f"`{name}` | {layer.cycles:,} | {layer.cycles / layer.macs:.2f} | {image.flash.total:,} | "
            f"{scratch_bytes:,}")  # fmt: skip


if __name__ == "__main__":
    main()
