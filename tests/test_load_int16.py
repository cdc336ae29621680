"""Models of int16 from TensorFlow Lite Micro's SEANet tests: each is a layer, with golden inputs and results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.load.tflite import load_tflite
from midge.passes import run_passes
from midge.plan import PlanOptions, plan
from midge.targets import core_board

COUNTS = {"add": 17, "conv": 22, "leaky_relu": 23, "pad": 19, "quantize": 2, "strided_slice": 34, "sub": 5,
          "transpose_conv": 5}  # fmt: skip
EMULATED_EVERY = 11
"""Of the models of a kind, in order of their names, every eleventh runs on an emulated core too."""


def models_of(shared: Path, kind: str) -> list[Path]:
    found = sorted((shared / "models" / "golden-tflm-seanet" / kind).glob("*.tflite"))
    if not found:
        pytest.skip("models/golden-tflm-seanet is not in the shared folder")
    assert len(found) == COUNTS[kind]
    return found


def golden_of(model: Path, graph: Graph) -> tuple[list[np.ndarray], np.ndarray]:
    """Inputs in the graph's order, and the golden result."""

    def read(part: str, name: str) -> np.ndarray:
        type_ = graph.type(name)
        (path,) = model.parent.glob(f"{model.stem}_{part}_*.csv")
        values = np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=1)
        return values.reshape(type_.shape).astype(type_.dtype.numpy)

    inputs = [read(f"input{number}", name) for number, name in enumerate(graph.inputs)]
    return inputs, read("golden", graph.outputs[0])


@pytest.mark.parametrize("kind", COUNTS)
def test_the_interpreter_gives_the_golden_results(shared: Path, kind: str):
    for model in models_of(shared, kind):
        graph = load_tflite(model)
        inputs, expected = golden_of(model, graph)
        (found,) = run_graph(graph, inputs)
        assert found.dtype == expected.dtype and np.array_equal(found, expected), model.name


@pytest.mark.parametrize("kind", COUNTS)
def test_firmware_gives_the_golden_results(shared: Path, kind: str, tmp_path: Path):
    board = core_board("cortex-m4")
    for model in models_of(shared, kind)[::EMULATED_EVERY]:
        graph = load_tflite(model)
        inputs, expected = golden_of(model, graph)
        planned = plan(run_passes(graph, board), board, PlanOptions())
        sources = emit(planned, prefix="layer", command="", model_sha256="")
        image = build(sources, board, tmp_path / model.stem)
        (found,) = emulate(image, sources, board, inputs).outputs
        assert np.array_equal(found.reshape(expected.shape), expected), model.name
