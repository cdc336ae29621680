"""A quantised keyword model whose scores differ from ONNX Runtime's: each layer on ONNX Runtime's own values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import midge
from midge.ir.graph import Graph

PORT = "serving_default_input:0"
SAMPLES = 12
MOST_THAT_DIFFER = {"conv2d": 0.001, "average_pool2d": 0.04}
"""By one step, of all values; of other operators none do."""


def test_every_layer_is_within_a_step_of_onnx_runtime(shared: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = shared / "models" / "zoo" / "models" / "tum_mlonmcu" / "micro_kws_m_static_quantized.onnx"
    model, graph = onnx.load(path), midge.load(path)
    made = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    final = [output.name for output in model.graph.output]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None) for name in made if name not in final
    )
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = runtime.InferenceSession(model.SerializeToString(), options)
    fused = runtime.InferenceSession(path.read_bytes())
    counts: dict[str, list[int]] = {}
    between_runtimes = 0
    for seed in range(SAMPLES):
        x = np.random.default_rng(seed).integers(-128, 128, (1, 1960)).astype(np.int8)
        theirs = dict(zip([port.name for port in plain.get_outputs()], plain.run(None, {PORT: x}), strict=True))
        (scores,) = fused.run(None, {PORT: x})
        between_runtimes = max(between_runtimes, int(np.abs(scores.astype(int) - theirs[final[0]]).max()))
        _compare_layers(graph, x, [theirs[name] for name in made], counts)
    for op, (differ, values, farthest) in counts.items():
        assert farthest <= 1 and differ <= MOST_THAT_DIFFER.get(op, 0) * values, (op, differ, values, farthest)
    assert set(counts) == {"average_pool2d", "conv2d", "fully_connected", "max_pool2d", "softmax"}
    assert between_runtimes > 1, "ONNX Runtime's own fused and plain layers agree now"


def _compare_layers(graph: Graph, x: np.ndarray, theirs: list[np.ndarray], counts: dict[str, list[int]]) -> None:
    """Run each layer on what ONNX Runtime made before it; `theirs` are the quantised values in order."""
    known, remaining = {graph.inputs[0]: x}, iter(theirs)
    for node in graph.nodes:
        operands = [known.get(name or "", graph.constant(name)) for name in node.inputs]
        (ours,) = node.op.evaluate(operands, graph.input_types(node), graph.output_types(node))
        known[node.outputs[0]] = ours
        if node.op.name in ("rearrange", "reshape"):
            continue
        expected = next(remaining)
        expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
        distance = np.abs(ours.astype(int) - expected)
        count = counts.setdefault(node.op.name, [0, 0, 0])
        count[0] += int(np.count_nonzero(distance))
        count[1] += distance.size
        count[2] = max(count[2], int(distance.max()))
        known[node.outputs[0]] = expected
    assert next(remaining, None) is None
