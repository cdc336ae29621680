"""Softmax without a table, where RAM or flash come first: all differences, many scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import midge
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.softmax import Softmax

SCALES = (1e-7, 0.004, 0.0311, 0.0937, 0.12, 0.25, 0.7, 1.0, 3.7, 40.0)


def classifiers() -> Graph:
    """A result for each scale, of 32 pixels with two channels."""
    builder = GraphBuilder("classifiers")
    for number, scale in enumerate(SCALES):
        kind = Quantization((float(np.float32(scale)),), (3,), None)
        x = builder.value(f"x{number}", TensorType(DType.INT8, (1, 1, 32, 2), kind))
        y = builder.value(f"y{number}", TensorType(DType.INT8, (1, 1, 32, 2), Quantization((1 / 256,), (-128,), None)))
        builder.inputs.append(x)
        builder.node(Softmax(1.0), [x], [y])
        builder.outputs.append(y)
    return builder.build()


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imc"])
def test_computed_powers_are_those_of_the_table(core: str, tmp_path: Path) -> None:
    program = midge.compile(classifiers(), core=core, optimize="flash")
    assert not any("powers[" in text for text in program.files.values())
    lower = np.arange(-128, 128, dtype=np.int8).reshape(8, 1, 1, 32)
    pixels = np.stack([np.full_like(lower, 127), lower], axis=-1)
    np.savez(tmp_path / "all.npz", **{f"x{number}": pixels for number in range(len(SCALES))})
    report = program.verify(data=tmp_path / "all.npz")
    assert report.values == pixels.size * len(SCALES)
    assert report.mismatches == 0
