"""The accuracy doctor finds the layer that hurts, and the cure that helps."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from cli_runner import midge as run_midge

import midge
from midge.api.diagnosis import ENOUGH_DB
from midge.compress.equalize import equalize, pairs
from midge.compress.prepare import prepare
from midge.compress.rounding import round_weights
from midge.compress.statistics import statistics
from midge.ir.interpret import run_graph

SCRIPT = Path(__file__).parents[1] / "examples" / "diagnose" / "make_model.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_model", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["make_model"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wild(example: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("wild")
    onnx.save(example.make(), folder / "wild.onnx")
    np.savez(folder / "samples.npz", x=example.samples(8))
    return folder / "wild.onnx", folder / "samples.npz"


def test_the_example_is_broken_and_equalisation_cures_it(wild: tuple[Path, Path]) -> None:
    found = midge.diagnose(*wild)
    first = {layer.layer: layer.noise_db for layer in found.plain.layers}
    assert min(first.values()) < 8
    assert [step.cure for step in found.steps if step.kept] == ["equalisation"]
    assert found.steps[-1].output_db >= ENOUGH_DB and found.steps[-1].extra_bytes == 0
    assert not found.needs_training and found.hurting
    worst = next(node for node in found.plain.graph.nodes if node.name == found.hurting[0].layer)
    assert worst.op.name == "conv2d"  # the projection, which reads the wild channels


def test_equalisation_keeps_the_float_network(wild: tuple[Path, Path], example: ModuleType) -> None:
    graph = prepare(midge.load(wild[0]))
    data = [(sample[None],) for sample in example.samples(3)]
    even = equalize(graph, statistics(graph, data).magnitudes)
    assert len(pairs(even)) == len(pairs(graph)) >= 6
    for sample in data:
        (before,), (after,) = run_graph(graph, sample), run_graph(even, sample)
        assert np.abs(before - after).max() <= 1e-4 * np.abs(before).max()


def test_adaptive_rounding_beats_the_nearest_where_inputs_are_alike() -> None:
    """Strongly correlated inputs: what one weight rounds away, another can make up for."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((500, 1))
    inputs = common + 0.1 * rng.standard_normal((500, 24))
    weights, scales = rng.standard_normal((6, 24)), np.full(6, 0.3)
    second = inputs.T @ inputs / len(inputs)
    nearest = np.clip(np.rint(weights / 0.3), -127, 127)
    adapted = round_weights(weights, scales, second)

    def error(integers: np.ndarray) -> float:
        return float(((inputs @ (weights - integers * 0.3).T) ** 2).mean())

    assert adapted.dtype == np.int8 and error(adapted.astype(float)) < 0.3 * error(nearest)


def test_command_line(wild: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "cured.tflite"
    words = ("quantize", wild[0], "--data", wild[1], "--diagnose", "--core", "cortex-m4", "-o", out)
    found = run_midge(*words, "--json")
    assert found.status == 0, found.err
    cures = found.object["cures"]
    assert cures[-1]["cure"] == "equalisation" and cures[-1]["kept"] and cures[-1]["extra_cycles"] is not None
    assert out.exists() and run_midge("verify", out, "--core", "cortex-m4", "--samples", "1", "--json").status == 0
    text = run_midge("quantize", wild[0], "--data", wild[1], "--diagnose").out
    assert "hurts" in text and "Kept: equalisation." in text


def scaled_sensors() -> onnx.ModelProto:
    """A product gives four sensors units a hundredfold apart; one result is the first's, the others mix the rest.

    There are no two layers with weights one behind the other, so nothing can be equalised.
    """
    rng = np.random.default_rng(5)
    units = np.array([100, 1, 1, 1], np.float32).reshape(1, 4, 1, 1)
    weights = rng.uniform(0.5, 1, (6, 4, 1, 1)).astype(np.float32) * rng.choice([-1, 1], (6, 4, 1, 1))
    weights[0, 1:], weights[1:, 0] = 0, 0
    weights = (weights / units).astype(np.float32)
    nodes = [onnx.helper.make_node("Mul", ["x", "units"], ["scaled"], name="scale"),
             onnx.helper.make_node("Conv", ["scaled", "weights"], ["y"], name="mix")]  # fmt: skip
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, channels, 6, 6))
             for name, channels in (("x", 4), ("y", 6))]  # fmt: skip
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in (("units", units), ("weights", weights))]
    graph = onnx.helper.make_graph(nodes, "sensors", ports[:1], ports[1:], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def test_int16_cures_what_has_no_int8_range(tmp_path: Path) -> None:
    model, out = tmp_path / "sensors.onnx", tmp_path / "cured.tflite"
    onnx.save(scaled_sensors(), model)
    data = [(np.random.default_rng(seed).uniform(-1, 1, (1, 6, 6, 4)).astype(np.float32),) for seed in range(8)]
    found = midge.diagnose(model, data, core="cortex-m4")
    assert [layer.op for layer in found.hurting] == ["conv2d"]
    last = found.steps[-1]
    assert last.cure.endswith("in int16") and last.kept and last.gain_db > 10 and last.output_db > ENOUGH_DB
    assert last.extra_cycles is not None and last.extra_cycles > 0
    assert not found.needs_training and not found.treatment.float_layers
    assert {layer.dtype for layer in found.best.layers} == {"int16"}
    found.best.save(out)
    assert (
        run_midge("verify", out, "--core", "cortex-m4", "--samples", "2", "--against", "litert", "--json").status == 0
    )


def test_a_target_without_a_diagnosis_is_refused(wild: tuple[Path, Path]) -> None:
    found = run_midge("quantize", wild[0], "--data", wild[1], "--core", "cortex-m4")
    assert found.status == 2 and "without --diagnose" in found.err
