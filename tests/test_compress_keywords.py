"""The float keyword model of MLPerf Tiny, quantised on 100 inputs of its accuracy set and scored on the other 900."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from litert_runner import run_litert

import midge
from midge.api.quantizing import quantized_inputs
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph

CALIBRATION = 100


@pytest.fixture(scope="module")
def keywords(shared: Path) -> tuple[np.ndarray, np.ndarray, Graph]:
    """Real inputs and labels of all samples, and the float model."""
    data = np.load(shared / "data" / "mlperf-tiny-kws" / "kws01_mfcc_int8.npz")
    official = midge.load(shared / "models" / "mlperf-tiny" / "kws_ref_model.tflite")
    quantization = official.type(official.inputs[0]).quantization
    assert quantization is not None
    integers = data["x"].reshape(-1, 1, 49, 10, 1).astype(np.float32)
    real = (integers - quantization.zero_point) * np.float32(quantization.scale)
    return real, data["y"], midge.load(shared / "models" / "mlperf-tiny" / "kws_ref_model_float32.tflite")


def _score(graph: Graph, inputs: np.ndarray, labels: np.ndarray) -> float:
    (outputs,) = midge.run_host(graph, inputs)
    return float((outputs.reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def _own_score(made: midge.Quantized, real: np.ndarray, labels: np.ndarray) -> float:
    own = np.stack([quantized_inputs(made.graph, (sample,))[0] for sample in real])
    return _score(made.graph, own, labels)


def test_no_worse_than_the_official_int8_model(shared: Path, keywords: tuple[np.ndarray, np.ndarray, Graph]) -> None:
    real, labels, source = keywords
    integers = np.load(shared / "data" / "mlperf-tiny-kws" / "kws01_mfcc_int8.npz")["x"].reshape(-1, 1, 49, 10, 1)
    official = midge.load(shared / "models" / "mlperf-tiny" / "kws_ref_model.tflite")
    made = midge.quantize(source, real[:CALIBRATION])
    score = _own_score(made, real[CALIBRATION:], labels[CALIBRATION:])
    assert score >= _score(source, real[CALIBRATION:], labels[CALIBRATION:]) - 0.005
    assert score >= _score(official, integers[CALIBRATION:], labels[CALIBRATION:])


def test_int16_decides_as_the_float_model(keywords: tuple[np.ndarray, np.ndarray, Graph], tmp_path: Path) -> None:
    """Weights of int8 are all that is lost; LiteRT computes the same integers of the file."""
    real, labels, source = keywords
    plain, made = (midge.quantize(source, real[:CALIBRATION], activations=dtype) for dtype in ("int8", "int16"))
    score = _own_score(made, real[CALIBRATION:], labels[CALIBRATION:])
    assert abs(score - _score(source, real[CALIBRATION:], labels[CALIBRATION:])) <= 0.003
    assert made.layers[-1].noise_db > plain.layers[-1].noise_db + 3
    content = made.save(tmp_path / "keywords.tflite").read_bytes()
    for sample in real[CALIBRATION : CALIBRATION + 8]:
        inputs = quantized_inputs(made.graph, (sample,))
        assert np.array_equal(run_litert(content, inputs)[0], run_graph(made.graph, inputs)[0])
