"""Convolutions whose weights are widened two channels at a time: exact on all cases, also where they do not pay."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kernel_trials import Trial, batches, between
from networks import NetworkMaker

from midge.build import build
from midge.emulate import emulate, emulate_many
from midge.kernels.conv2d.paired import PAIRED_KERNELS, paired_offers
from midge.kernels.conv2d.widened import Conv2DS8Widened
from midge.ops import CASES
from midge.plan.candidates import legal_kernels
from midge.targets import core_board, find_board

BOARD = find_board("nucleo-l4r5zi")
STRIDE = 6


def _trials() -> Iterator[Trial]:
    for case in CASES["conv2d"]:
        graph = case.build(np.random.default_rng(zlib.crc32(case.name.encode())))
        node = graph.nodes[0]
        for kernel in PAIRED_KERNELS:
            if kernel.refuse(node, graph, BOARD.core) is None:
                yield Trial(f"{case.name} {kernel.name}", node.name, kernel, between(graph))


@pytest.mark.parametrize("part", range(2))
def test_results_are_exact(part: int, tmp_path: Path) -> None:
    chosen = list(_trials())[part::STRIDE]
    assert {trial.kernel for trial in _trials()} == set(PAIRED_KERNELS) and len(chosen) > 10
    found = []
    for number, batch in enumerate(batches(chosen, BOARD, 24, "trials")):
        image = build(batch.sources, BOARD, tmp_path / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, BOARD, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, BOARD, batch.samples[0]).outputs)
    assert not found, "\n".join(found)


def test_they_are_offered_where_the_flash_is_slow_and_rows_are_long() -> None:
    maker = NetworkMaker(1, 16, 16, 16)
    graph = maker.finish(maker.conv(maker.input, 16, (3, 3)))
    node = graph.nodes[0]

    def names(board: str) -> set[str]:
        core = find_board(board).core if board == BOARD.name else core_board(board).core
        return {kernel.name for kernel, _, _ in legal_kernels(node, graph, core)}

    paired = {kernel.name for kernel in PAIRED_KERNELS}
    assert paired <= names(BOARD.name) and not paired & names("cortex-m4")
    maker = NetworkMaker(1, 16, 4, 16)
    short = maker.finish(maker.conv(maker.input, 16, (3, 3)))
    widened = next(k for k, _, _ in legal_kernels(node, graph, BOARD.core) if isinstance(k, Conv2DS8Widened))
    assert not paired_offers(short.nodes[0], short, BOARD.core, widened, widens=True)
