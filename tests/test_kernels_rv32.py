"""Kernels of RV32M: packed weights and proven requantisation against plain arithmetic, and all cases as firmware."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernel_trials import batches, trials

from midge.build import build
from midge.emulate import emulate, emulate_many
from midge.kernels import kernel_files
from midge.kernels.assembly_rv32 import RiscvAssembly
from midge.kernels.dots_rv32 import Shape
from midge.kernels.packing_armv6m import Coding
from midge.kernels.packing_rv32 import Weights, as_bytes, making_order, pack
from midge.targets import core_board

BOARD = core_board("rv32imc")
OPERATORS = sorted({op for op, isa in kernel_files() if isa == "rv32"})
BATCH = 8
"""The planner takes long over many networks side by side."""


def signed(value: int, bits: int) -> int:
    low = value % (1 << bits)
    return low - (1 << bits) if low >> (bits - 1) else low


def decode(coding: Coding, words: np.ndarray) -> np.ndarray:
    """Sums of channels from sums of words, in the order of the emitted code."""
    found = np.zeros(coding.channels, np.int64)
    first = 0
    for chain in coding.chains:
        kept, known_bits = 0, 0
        for word in range(chain.words):
            own, before, after = chain.fields(word)
            value = (int(words[first + word]) - (kept << (own - known_bits))) % 2**32
            low = signed(value, own)
            found[chain.channels[2 * word]] = low
            value = (value - low) % 2**32
            if word:
                part = signed(value, own + before)
                found[chain.channels[2 * word - 1]] = kept + (part >> (own - known_bits))
                value = (value - part) % 2**32
            kept, known_bits = value >> (own + before), after
        first += chain.words
    return found


def sums_of(weights: Weights, x: np.ndarray) -> np.ndarray:
    """What the code computes for inputs [taps], from the words that it reads."""
    sums = np.zeros(len(weights.weights), np.int64)
    first = 0
    for coding, count in weights.codings:
        for _ in range(count):
            group = slice(first, first + coding.channels)
            for start, tap, end in zip(weights.starts, (0, *weights.ends), weights.ends, strict=False):
                part = slice(tap, end)
                words = coding.encode(start[group]).astype(np.int64)
                words += (coding.encode(weights.weights[group, part].T).astype(np.int64) * x[part, None]).sum(0)
                sums[group] += decode(coding, words)
            first += coding.channels
    return sums


@pytest.mark.parametrize(("kh", "taps"), ((1, 1), (3, 9), (1, 64), (1, 61), (3, 144), (10, 40), (1, 960), (1, 961)))
def test_packed_weights_give_all_products(kh: int, taps: int) -> None:
    rng = np.random.default_rng(taps)
    flat = rng.integers(-64, 65, (19, taps))
    totals = rng.integers(-30000, 30000, 19)
    weights = pack(flat, totals, kh)
    assert weights is not None
    assert sorted(making_order(weights.codings[0][0])) == list(range(8))
    low_or_high = np.where(flat[3] > 0, 127, -128)
    for x in (np.zeros(taps, np.int64), np.full(taps, 127), np.full(taps, -128), low_or_high, -1 - low_or_high,
              rng.integers(-128, 128, taps)):  # fmt: skip
        assert sums_of(weights, x).tolist() == (totals + flat @ x).tolist()


def test_sums_that_fit_no_field_are_refused() -> None:
    """A row of 37 taps cannot be split where there are more rows."""
    assert pack(np.full((8, 3 * 37), 127), np.zeros(8, np.int64), 3) is None
    weights = pack(np.full((8, 3 * 36), 127), np.zeros(8, np.int64), 3)
    assert weights is not None and weights.segments == 9
    weights = pack(np.full((8, 37), 127), np.zeros(8, np.int64), 1)
    assert weights is not None and weights.ends == (13, 26, 37)


@pytest.mark.parametrize("outputs", (1, 4, 7, 16, 19))
def test_weights_in_bytes_are_the_weights(outputs: int) -> None:
    flat = np.random.default_rng(outputs).integers(-128, 128, (outputs, 21))
    weights = as_bytes(flat, np.arange(outputs), 3, 4)
    assert [coding.channels for coding, count in weights.codings for _ in range(count)][:-1] == [4] * (
        -(-outputs // 4) - 1
    )
    x = np.random.default_rng(1).integers(-128, 128, 21)
    assert sums_of(weights, x).tolist() == (np.arange(outputs) + flat @ x).tolist()


@pytest.mark.parametrize("columns", range(1, 40))
@pytest.mark.parametrize("words", (4, 5, 8, 16))
def test_blocks_of_pixels_cover_the_row(columns: int, words: int) -> None:
    blocks = Shape(3, 12, 4, columns).blocks(words)
    assert sum(pixels * count for pixels, count in blocks) == columns
    assert all(pixels >= 1 and count >= 1 for pixels, count in blocks)
    assert 4 + pixels_of(blocks) * (words + 1) <= 28


def pixels_of(blocks: tuple[tuple[int, int], ...]) -> int:
    return max(pixels for pixels, _ in blocks)


def test_registers_are_saved_as_the_abi_wants() -> None:
    code = RiscvAssembly("f", "Title.", [f"r{number}" for number in range(28)], 20)
    code.add("r0", 2047, "r1")
    code.add("r0", 2048, "r1")
    code.rarely("bltz {r0}", ["li {r0}, 0"])
    text = code.function("void f(void)").text
    saved = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
    for register in saved:
        assert text.count(f"sw {register}, ") == text.count(f"lw {register}, ") == 1
    assert "addi sp, sp, -80" in text and "addi sp, sp, 80" in text
    assert "addi a0, a0, 2047" in text and "li a1, 2048\n    add a0, a0, a1" in text
    assert text.index("ret") < text.index("li a0, 0") < text.index("j .Lf_1")
    with pytest.raises(ValueError, match="29 registers"):
        RiscvAssembly("f", "Title.", [f"r{number}" for number in range(29)])


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATORS)
def test_every_case_on_the_core(op: str, tmp_path: Path) -> None:
    found = []
    chosen = list(trials(op, ("rv32",), BOARD.core))
    assert chosen
    for number, batch in enumerate(batches(chosen, BOARD, BATCH, "rv32", samples=2)):
        image = build(batch.sources, BOARD, tmp_path / str(number))
        for sample, outputs in enumerate(emulate_many(image, batch.sources, BOARD, batch.samples)):
            found += batch.compare(sample, outputs)
        found += batch.compare(0, emulate(image, batch.sources, BOARD, batch.samples[0]).outputs)
    assert not found, "\n".join(found)
