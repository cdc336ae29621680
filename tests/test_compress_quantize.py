"""Post-training quantisation: near the float model, the same integers everywhere, honest figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_networks
import pytest
from cli_runner import midge as run_midge
from litert_runner import run_litert

import midge
from midge.api.quantizing import quantized_inputs
from midge.compress.ranges import METHODS, Histogram, Range, range_of
from midge.errors import UsageError
from midge.ir.interpret import run_graph
from midge.ir.text import print_graph

SHAPE = (1, 8, 8, 3)


def _samples(count: int) -> list[tuple[np.ndarray]]:
    rng = np.random.default_rng(11)
    return [(rng.standard_normal(SHAPE).astype(np.float32),) for _ in range(count)]


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    path = tmp_path / "float.onnx"
    onnx.save(onnx_networks.to_quantize(), path)
    return path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("per_channel", [True, False], ids=["per_channel", "per_tensor"])
def test_near_the_float_model(float_model: Path, method: str, per_channel: bool) -> None:
    made = midge.quantize(float_model, _samples(16), method=method, per_channel=per_channel)  # type: ignore[arg-type]
    assert all(layer.is_integer for layer in made.layers)
    assert made.integer_bytes < 0.45 * made.float_bytes
    last = made.layers[-1]
    assert last.noise_db > (8 if method == "entropy" else 18 if per_channel else 15), last
    widths = {len(value.type.quantization.scales) for value in made.graph.constants() if value.type.quantization}
    assert (max(widths) > 1) is per_channel


def test_written_files_compute_the_same_integers(float_model: Path, tmp_path: Path) -> None:
    made = midge.quantize(float_model, _samples(8))
    content = made.save(tmp_path / "q.tflite").read_bytes()
    made.save(tmp_path / "q.onnx")
    again = midge.load(tmp_path / "q.onnx")
    for sample in _samples(4):
        inputs = quantized_inputs(made.graph, sample)
        (ours,) = run_graph(made.graph, inputs)
        assert np.array_equal(run_litert(content, inputs)[0], ours)
        (back,) = run_graph(again, inputs)
        assert np.abs(back.astype(int) - ours.astype(int)).max() <= 1
    assert run_midge("verify", tmp_path / "q.tflite", "--core", "cortex-m4", "--samples", "2", "--json").status == 0


def test_samples_of_double_precision_do(float_model: Path, tmp_path: Path) -> None:
    """NumPy's own type: in a file, and in a folder."""
    samples = np.concatenate([sample for (sample,) in _samples(4)])
    (tmp_path / "one_by_one").mkdir()
    for number, sample in enumerate(samples.astype(np.float64)):
        np.save(tmp_path / "one_by_one" / f"{number}.npy", sample[None])
    np.savez(tmp_path / "all.npz", x=samples.astype(np.float64))
    expected = midge.quantize(float_model, _samples(4)).graph
    for data in (tmp_path / "all.npz", tmp_path / "one_by_one"):
        assert print_graph(midge.quantize(float_model, data).graph) == print_graph(expected)


def test_larger_images_are_made_of_integers(tmp_path: Path) -> None:
    """A decoder: transposed convolutions and bilinear resizing; LiteRT computes the same from what is saved."""
    m = onnx_networks.Maker()
    y = m.op("Relu", m.op("Conv", "x", m.random(8, 3, 3, 3), m.random(8), strides=[2, 2], pads=[1, 1, 1, 1]))
    y = m.op("Relu", m.op("ConvTranspose", y, m.random(8, 6, 2, 2), m.random(6), strides=[2, 2]))
    y = m.op("Resize", y, "", m.constant([1, 1, 2, 2]), mode="linear")
    onnx.save(m.model((1, 3, 8, 8), [m.op("Conv", y, m.random(2, 6, 1, 1), m.random(2))]), tmp_path / "decoder.onnx")
    made = midge.quantize(tmp_path / "decoder.onnx", _samples(16))
    assert all(layer.is_integer for layer in made.layers) and made.layers[-1].noise_db > 18
    assert [node.op.name for node in made.graph.nodes].count("resize_bilinear") == 1
    content = made.save(tmp_path / "q.tflite").read_bytes()
    for sample in _samples(3):
        inputs = quantized_inputs(made.graph, sample)
        assert np.array_equal(run_litert(content, inputs)[0], run_graph(made.graph, inputs)[0])


def test_float_ports_and_float_layers(float_model: Path) -> None:
    whole = midge.quantize(float_model, _samples(8), ports="float32")
    assert whole.graph.type(whole.graph.inputs[0]).dtype.is_float
    assert whole.graph.type(whole.graph.outputs[0]).dtype.is_float
    name = midge.load(float_model).nodes[-1].name
    mixed = midge.quantize(float_model, _samples(8), float_layers=[name])
    assert [layer.layer for layer in mixed.layers if not layer.is_integer] == [name]
    with pytest.raises(UsageError, match="no layer 'nothing'"):
        midge.quantize(float_model, _samples(1), float_layers=["nothing"])


def test_outliers_are_clipped_by_all_methods_but_one() -> None:
    """A narrow distribution with one value in thirty thousand far outside."""
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 99_990), np.full(3, 60.0)])
    low, high = float(values.min()), float(values.max())
    histogram = Histogram(low, high, np.histogram(values, 2048, (low, high))[0])
    assert range_of(histogram, "min-max") == Range(low, high)
    for method in ("percentile", "mse", "entropy"):
        assert range_of(histogram, method).high < high, method


def test_command_line(float_model: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data.npz", tmp_path / "q.tflite"
    np.savez(data, x=np.concatenate([sample[0] for sample in _samples(8)]))
    found = run_midge("quantize", float_model, "--data", data, "-o", out, "--json")
    assert found.status == 0, found.err
    layers = found.object["layers"]
    assert out.exists() and len(layers) >= 5 and all(layer["integer"] for layer in layers)
    assert found.object["constant_bytes"]["integer"] < found.object["constant_bytes"]["float"]
    text = run_midge("quantize", float_model, "--data", data)
    assert "quantised to int8" in text.out and "min-max, of 8 calibration samples" in text.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "missing.npz"), "no such file"),
        (("--data", "int.npy"), "int8"),
        (("--data", "good.npy", "-o", "q.bin"), "'.bin'; expected .tflite or .onnx"),
        (("--data", "nan.npy"), "infinite or NaN"),
        (("--data", "empty"), "no .npy or .npz files in the folder"),
    ],
)
def test_errors(float_model: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "empty").mkdir()
    good = _samples(1)[0][0]
    np.save(tmp_path / "good.npy", good)
    np.save(tmp_path / "int.npy", good.astype(np.int8))
    np.save(tmp_path / "nan.npy", np.full(SHAPE, np.nan, np.float32))
    paths = [str(tmp_path / word) if word[0] != "-" else word for word in words]
    found = run_midge("quantize", float_model, *paths)
    assert found.status == 2 and message in found.err, found.err


def test_a_quantised_model_is_not_quantised_again() -> None:
    from midge.demo import digits_model

    found = run_midge("quantize", digits_model(), "--data", digits_model())
    assert found.status in (2, 4)


def _steps_from_onnx_runtime(made: midge.Quantized, path: Path) -> int:
    """How far ONNX Runtime, and the graph that the file is read as, are from the integers of the graph."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = onnxruntime.InferenceSession(made.save(path).read_bytes(), providers=["CPUExecutionProvider"])
    again, steps = midge.load(path), 0
    for sample in _samples(8):
        inputs = quantized_inputs(made.graph, sample)
        (ours,) = run_graph(made.graph, inputs)
        others = session.run(None, {session.get_inputs()[0].name: inputs[0]}) + list(run_graph(again, inputs))
        assert all(other.dtype == ours.dtype for other in others)
        steps = max(steps, *(int(np.abs(other.astype(int) - ours.astype(int)).max()) for other in others))
    return steps


def test_int16_is_far_nearer_and_the_same_integers_everywhere(float_model: Path, tmp_path: Path) -> None:
    plain, wide = (midge.quantize(float_model, _samples(8), activations=dtype) for dtype in ("int8", "int16"))  # type: ignore[arg-type]
    assert all(layer.dtype == "int16" for layer in wide.layers)
    assert {wide.graph.type(name).dtype.value for name in (*wide.graph.inputs, *wide.graph.outputs)} == {"int16"}
    assert wide.layers[-1].noise_db > plain.layers[-1].noise_db + 6
    content = wide.save(tmp_path / "wide.tflite").read_bytes()
    for sample in _samples(4):
        inputs = quantized_inputs(wide.graph, sample)
        (ours,) = run_graph(wide.graph, inputs)
        assert np.array_equal(run_litert(content, inputs)[0], ours)
    assert run_midge("verify", tmp_path / "wide.tflite", "--core", "cortex-m4", "--samples", "2", "--json").status == 0
    assert _steps_from_onnx_runtime(wide, tmp_path / "wide.onnx") <= 2


def test_int16_layers_stand_between_conversions(float_model: Path, tmp_path: Path) -> None:
    plain = midge.quantize(float_model, _samples(8))
    name = next(layer.layer for layer in plain.layers if layer.op == "conv2d")
    mixed = midge.quantize(float_model, _samples(8), int16_layers=[name])
    assert [layer.dtype for layer in mixed.layers].count("int16") == 1
    assert [node.op.name for node in mixed.graph.nodes].count("quantize") > 0
    content = mixed.save(tmp_path / "mixed.tflite").read_bytes()
    for sample in _samples(4):
        inputs = quantized_inputs(mixed.graph, sample)
        assert np.array_equal(run_litert(content, inputs)[0], run_graph(mixed.graph, inputs)[0])
    assert _steps_from_onnx_runtime(mixed, tmp_path / "mixed.onnx") <= 1
    with pytest.raises(UsageError, match="int16 layers: no layer 'nothing'"):
        midge.quantize(float_model, _samples(2), int16_layers=["nothing"])
