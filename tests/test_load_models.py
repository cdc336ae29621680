"""Real .tflite models: imported, counted, and run against LiteRT's reference kernels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from litert_runner import assert_equal, run_litert

import midge
from midge.errors import MidgeError, UnsupportedError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.ir.text import parse_graph, print_graph
from midge.load import load
from midge.ops.base import Rounding
from midge.ops.cases import random_inputs
from midge.ops.fully_connected import FullyConnected

MODELS = [
    "ad01_fp32", "ad01_int8", "kws_ref_model", "kws_ref_model_float32", "pretrainedResnet",
    "pretrainedResnet_large_float", "pretrainedResnet_large_int8", "pretrainedResnet_quant", "str_ww_ref_model",
    "vww_96_float", "vww_96_int8",
]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_mlperf_tiny_model_agrees_with_litert(mlperf_tiny: Path, name: str):
    path = mlperf_tiny / f"{name}.tflite"
    graph = load(path)
    assert graph.name == name
    for seed in range(3):
        inputs = random_inputs(graph, np.random.default_rng(seed))
        expected = run_litert(path.read_bytes(), inputs)
        for a, b in zip(expected, run_graph(graph, inputs), strict=True):
            assert_equal(a, b, f"{name} seed {seed}")


@pytest.mark.parametrize("name", MODELS)
def test_mlperf_tiny_model_prints_and_parses_back(mlperf_tiny: Path, name: str):
    graph = load(mlperf_tiny / f"{name}.tflite")
    text = print_graph(graph)
    again = parse_graph(text)
    assert_same(graph, again)
    assert print_graph(again) == text


def assert_same(a: Graph, b: Graph) -> None:
    """Everything but the order in which values are listed."""
    assert (a.name, a.nodes, a.inputs, a.outputs) == (b.name, b.nodes, b.inputs, b.outputs)
    assert set(a.values) == set(b.values)
    for name, value in a.values.items():
        other = b.values[name]
        assert value.type == other.type and value.is_constant == other.is_constant
        if value.data is not None and other.data is not None:
            assert value.data.tobytes() == other.data.tobytes()


def test_macs_equal_the_published_counts(shared: Path, mlperf_tiny: Path):
    peers = json.loads((shared / "peers.json").read_text(encoding="utf-8"))
    assert len(peers["models"]) >= 4
    for name, facts in peers["models"].items():
        assert load(mlperf_tiny / f"{name}.tflite").total_macs == facts["macs"]


def test_tflm_numerics_give_the_bits_of_tensorflow_lite_micro(shared: Path, mlperf_tiny: Path):
    expected = json.loads((shared / "peers.json").read_text(encoding="utf-8"))["tflm_ad01_output_for_pattern"]
    pattern = np.array([(i * 37 + 11) % 256 - 128 for i in range(640)], np.int8).reshape(1, 640)
    graph = load(mlperf_tiny / "ad01_int8.tflite", numerics="tflm")
    assert all(node.op.rounding is Rounding.DOUBLE for node in graph.nodes if isinstance(node.op, FullyConnected))
    (output,) = run_graph(graph, [pattern])
    assert output.reshape(-1)[:16].tolist() == expected["head"]
    assert hashlib.sha256(output.tobytes()).hexdigest() == expected["sha256"]
    (litert_bits,) = run_graph(load(mlperf_tiny / "ad01_int8.tflite"), [pattern])
    assert 1 <= np.abs(litert_bits.astype(int) - output).max() <= 2, "the two roundings are known to differ here"


def test_unit_models_agree_with_litert_or_are_refused(shared: Path):
    imported = 0
    for path in sorted((shared / "models" / "zoo" / "unit").rglob("*.tflite")):
        try:
            graph = load(path)
        except UnsupportedError:
            continue
        # LiteRT refuses indices that lie outside of their tables.
        most = 2 if "gather_nd" in path.name else 8
        inputs = tuple(array % most if array.dtype == np.int32 else array
                       for array in random_inputs(graph, np.random.default_rng(0)))  # fmt: skip
        for a, b in zip(run_litert(path.read_bytes(), inputs), run_graph(graph, inputs), strict=True):
            assert_equal(a, b, path.name)
        imported += 1
    assert imported >= 130


@pytest.mark.slow
def test_zoo_models_agree_with_litert_or_are_refused(shared: Path):
    imported = 0
    for path in sorted((shared / "models" / "zoo" / "models").rglob("*.tflite")):
        try:
            graph = load(path)
        except UnsupportedError:
            continue
        inputs = random_inputs(graph, np.random.default_rng(0))
        for a, b in zip(run_litert(path.read_bytes(), inputs), run_graph(graph, inputs), strict=True):
            assert_equal(a, b, path.name)
        imported += 1
    assert imported >= 62


def test_rejected_and_malformed_models_are_refused_in_one_line(shared: Path):
    zoo = shared / "models" / "zoo"
    for folder, kind in (("reject", UnsupportedError), ("malformed", MidgeError)):
        paths = sorted((zoo / folder).rglob("*.tflite"))
        assert paths
        for path in paths:
            with pytest.raises(kind) as caught:
                load(path)
            message = str(caught.value)
            assert message.startswith(path.name) and "\n" not in message


def test_unsupported_operators_are_reported_all_at_once(shared: Path):
    path = shared / "models" / "zoo" / "reject" / "tum_mlonmcu" / "custom.tflite"
    with pytest.raises(UnsupportedError) as caught:
        load(path)
    assert str(caught.value) == (
        "custom.tflite: 2 parts of the model that Midge has no code for: "
        "CUSTOM:Complex (layer 0, 'model/tf_op_layer_Complex/Complex') on float32; "
        "CUSTOM:Imag (layer 1, 'Identity') on complex64. "
        "Replace them in the model, or convert it with int8 or float32 layers only"
    )


def test_operators_without_an_import_say_why(shared: Path):
    path = shared / "models" / "zoo" / "unit" / "ai_edge_quantizer" / "simple_composite.tflite"
    with pytest.raises(UnsupportedError, match=r"STABLEHLO_COMPOSITE .* on float32: a composite: export the model"):
        load(path)


def test_the_package_is_the_verb(mlperf_tiny: Path):
    graph = midge.load(mlperf_tiny / "kws_ref_model.tflite", numerics="tflm")
    assert graph.type(graph.inputs[0]).shape == (1, 49, 10, 1)
