"""Writers: other runtimes compute from a written file what the graph does; quantised models come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from midge.errors import UnsupportedError
from midge.ir.interpret import run_graph
from midge.ops import CASES
from midge.ops.cases import random_inputs
from midge.write.onnx import write_onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

_STEPS_S16 = {"tanh": 3, "softmax": 127}
"""Where LiteRT's definition for int16 is a table, and not the function itself (docs/numerics.md)."""


@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_computes_the_same(name: str) -> None:
    """Floats to 2e-5 of the largest; integers to one step, since it scales in float32, int16 functions to a few."""
    compared = 0
    for case in CASES[name]:
        rng = np.random.default_rng(1)
        graph = case.build(rng)
        inputs = random_inputs(graph, rng)
        try:
            content = write_onnx(graph)
        except UnsupportedError:
            continue
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_inputs()]
        theirs = session.run(None, dict(zip(names, inputs, strict=True)))
        for ours, other in zip(run_graph(graph, inputs), theirs, strict=True):
            assert ours.dtype == other.dtype and ours.shape == other.shape, case.name
            distance = np.abs(ours.astype(np.float64) - other.astype(np.float64)).max()
            limit = 2e-5 * max(float(np.abs(ours).max()), 1e-9)
            if ours.dtype.kind != "f":
                limit = _STEPS_S16.get(name, 1) if ours.dtype == np.int16 else 1
            assert distance <= limit, f"{name} {case.name}: {distance}"
        compared += 1
    if compared == 0:
        pytest.skip(f"{name} has no equal in the .onnx format")
