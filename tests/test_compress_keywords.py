"""The float keyword model of MLPerf Tiny, quantised on 100 inputs of its accuracy set and scored on the other 900."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import midge
from midge.api.quantizing import quantized_inputs
from midge.ir.graph import Graph

CALIBRATION = 100


def _score(graph: Graph, inputs: np.ndarray, labels: np.ndarray) -> float:
    (outputs,) = midge.run_host(graph, inputs)
    return float((outputs.reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def test_no_worse_than_the_official_int8_model(shared: Path) -> None:
    data = np.load(shared / "data" / "mlperf-tiny-kws" / "kws01_mfcc_int8.npz")
    official = midge.load(shared / "models" / "mlperf-tiny" / "kws_ref_model.tflite")
    integers = data["x"].reshape(-1, 1, 49, 10, 1)
    labels = data["y"][CALIBRATION:]
    quantization = official.type(official.inputs[0]).quantization
    assert quantization is not None
    real = (integers.astype(np.float32) - quantization.zero_point) * np.float32(quantization.scale)
    source = midge.load(shared / "models" / "mlperf-tiny" / "kws_ref_model_float32.tflite")
    made = midge.quantize(source, real[:CALIBRATION])
    own = np.stack([quantized_inputs(made.graph, (sample,))[0] for sample in real[CALIBRATION:]])
    score = _score(made.graph, own, labels)
    assert score >= _score(source, real[CALIBRATION:], labels) - 0.005
    assert score >= _score(official, integers[CALIBRATION:], labels)
