"""Training with quantisation in the loop: its arithmetic is Midge's, it helps, it is repeatable, it can be stopped."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_runner import midge as run_midge

import midge
from midge.api import diagnosis
from midge.api.quantizing import classes_of, quantized_inputs
from midge.compress.equalize import equalize
from midge.compress.prepare import prepare
from midge.compress.quantize import QuantizeOptions, quantize_graph
from midge.compress.ranges import histograms, ranges
from midge.compress.statistics import statistics
from midge.errors import ToolError, UsageError
from midge.ir.interpret import run_graph, run_graph_values
from midge.ir.types import DType
from midge.ops import CASES

torch = pytest.importorskip("torch", reason="torch is not installed")

from midge.compress.training.forms import FORMS, apply  # noqa: E402
from midge.compress.training.student import Student  # noqa: E402

SCRIPT = Path(__file__).parents[1] / "examples" / "diagnose" / "make_model.py"
FLOAT_CASES = [(name, case) for name, cases in CASES.items() for case in cases]


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The example's network, broken by channels of wild ranges, and samples."""
    spec = importlib.util.spec_from_file_location("make_wild_model", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_wild_model"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("wild") / "wild.onnx"
    onnx.save(module.make(), path)
    return path, module.samples(20)


def noise_db(model: Any, graph: Any, samples: np.ndarray) -> float:
    """The outputs' signal over noise, of samples that calibration did not see."""
    signal = error = 0.0
    type_ = model.graph.type(model.graph.outputs[0])
    for sample in samples:
        (exact,) = run_graph(graph, (sample[None],))
        (rough,) = run_graph(model.graph, quantized_inputs(model.graph, (sample[None],)))
        real = (rough.astype(np.float64) - type_.zero_point) * type_.quantization.scale
        signal, error = signal + float((exact**2).sum()), error + float(((real - exact) ** 2).sum())
    return float(10 * np.log10(signal / error))


def test_forms_are_the_references() -> None:
    """Every float case of every operator that has a form, on three samples at once."""
    compared = set()
    for name, case in FLOAT_CASES:
        graph = case.build(np.random.default_rng(4))
        (node,) = graph.nodes
        types = [type_ for type_ in graph.input_types(node) if type_ is not None]
        if type(node.op) not in FORMS or any(type_.quantization is not None for type_ in types):
            continue
        rng = np.random.default_rng(9)
        stacks = [rng.standard_normal((3, *graph.type(port).shape)).astype(graph.type(port).dtype.numpy)
                  for port in graph.inputs]  # fmt: skip
        wanted = np.stack([run_graph(graph, [stack[k] for stack in stacks])[0] for k in range(3)])
        given = torch.func.vmap(_as_function(graph, node))(*map(torch.tensor, stacks)).numpy()
        assert given.shape == wanted.shape, (name, case.name)
        np.testing.assert_allclose(given, wanted, rtol=2e-5, atol=2e-5, err_msg=f"{name} {case.name}")
        compared.add(type(node.op))
    assert compared == set(FORMS)


def _as_function(graph: Any, node: Any) -> Callable[..., Any]:
    def function(*inputs: Any) -> Any:
        known = dict(zip(graph.inputs, inputs, strict=True))
        operands = [None if name is None else known[name] if name in known else torch.tensor(graph.constant(name))
                    for name in node.inputs]  # fmt: skip
        return apply(node.op, operands, graph.input_types(node), graph.type(node.outputs[0]))

    return function


@pytest.mark.parametrize("ports", ["int8", "float32"])
def test_the_student_computes_what_integers_stand_for(wild: tuple[Path, np.ndarray], ports: str) -> None:
    path, samples = wild
    data = [(sample[None],) for sample in samples[:6]]
    graph = prepare(midge.load(path))
    graph = equalize(graph, statistics(graph, data).magnitudes)
    found = ranges(histograms(graph, data), "min-max")
    made = quantize_graph(graph, found, QuantizeOptions(ports=DType(ports)))
    student = Student(graph, made, found, per_channel=True)
    same = total = 0
    for sample in data:
        integers = run_graph_values(made, quantized_inputs(made, sample))
        reals = {name: torch.tensor(real(array, made.type(name))) for name, array in integers.items()}
        for node in made.nodes:  # each on the integers that the interpreter has, so that no difference grows
            name, type_ = node.outputs[0], made.type(node.outputs[0])
            if type_.quantization is None:
                continue
            with torch.no_grad():
                given = student.result(node, reals).numpy() / np.float32(type_.quantization.scale)
            off = np.abs(np.rint(given + type_.zero_point) - integers[name])
            assert off.max() <= 1, name
            same, total = same + int((off == 0).sum()), total + off.size
    assert same / total > 0.998


def real(array: np.ndarray, type_: Any) -> np.ndarray:
    if type_.quantization is None or type_.quantization.axis is not None:
        return array
    return ((array.astype(np.float64) - type_.zero_point) * type_.quantization.scale).astype(np.float32)


def test_training_helps_on_samples_that_it_has_not_seen(wild: tuple[Path, np.ndarray]) -> None:
    path, samples = wild
    graph = midge.load(path)
    plain = midge.quantize(path, samples[:16])
    trained, again = (midge.quantize(path, samples[:16], train=60) for _ in range(2))
    assert noise_db(trained, graph, samples[16:]) > noise_db(plain, graph, samples[16:]) + 3
    assert trained.trained is not None and trained.trained.steps == 60 and not trained.trained.interrupted
    assert trained.model.sha256 == again.model.sha256 != plain.model.sha256
    assert trained.integer_bytes == plain.integer_bytes
    assert midge.compile(trained.graph, core="cortex-m4").verify(1).mismatches == 0


def test_an_interrupt_keeps_the_best_so_far(wild: tuple[Path, np.ndarray]) -> None:
    path, samples = wild
    asked: list[int] = []

    def stop(done: int, of: int | None = None) -> None:
        if of is not None:
            asked.append(done)
            if done == 7:
                raise KeyboardInterrupt

    made = midge.quantize(path, samples[:8], train=50, progress=stop)
    assert made.trained is not None and made.trained.interrupted and made.trained.steps == 7 and asked[-1] == 7
    graph = midge.load(path)
    plain = midge.quantize(path, samples[:8])
    assert noise_db(made, graph, samples[:8]) > noise_db(plain, graph, samples[:8]) - 0.5


@pytest.fixture
def only_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor knows no other cure."""
    monkeypatch.setattr(diagnosis, "_cures", list)
    monkeypatch.setattr(diagnosis, "_MOST_LAYERS", 0)


@pytest.mark.usefixtures("only_training")
def test_the_doctor_trains(wild: tuple[Path, np.ndarray]) -> None:
    """Measured on samples that were held out, with its costs; the classes of the float model are learned as labels."""
    path, samples = wild
    labels = np.array([run_graph(midge.load(path), (sample[None],))[0].argmax() for sample in samples])
    found = midge.diagnose(path, {"x": samples, "y": labels}, train=40, core="cortex-m4")
    (step,) = found.steps
    assert step.cure == "training, 40 steps" and step.samples == 5 and step.kept and step.gain_db > 2
    assert step.extra_bytes == 0 and step.extra_cycles is not None
    assert found.float_accuracy == 1.0 and found.plain_accuracy is not None and step.accuracy is not None
    assert found.best.trained is not None and found.treatment.training_steps == 40 and not found.untrained
    assert midge.diagnose(path, samples[:8], train=0).steps == ()


@pytest.mark.usefixtures("only_training")
def test_without_torch_the_doctor_says_what_to_install(
    wild: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, samples = wild
    monkeypatch.setitem(sys.modules, "torch", None)
    found = midge.diagnose(path, samples[:8])
    assert found.steps == () and "pip install 'midge[train]'" in found.untrained and found.needs_training
    with pytest.raises(ToolError, match=r"torch is not installed.*midge\[train\]"):
        midge.quantize(path, samples[:8], train=5)


def test_too_few_samples(wild: tuple[Path, np.ndarray]) -> None:
    path, samples = wild
    with pytest.raises(UsageError, match="3 calibration samples"):
        midge.quantize(path, samples[:3], train=5)


def test_what_counts_as_labels(wild: tuple[Path, np.ndarray]) -> None:
    model = midge.open_model(wild[0])
    right = np.arange(6) % 10

    def given(labels: Any, name: str = "y") -> Any:
        return classes_of({"x": wild[1][:6], name: labels}, model, 6)

    for labels in (right, right[:, None], right.astype(np.float64)):
        np.testing.assert_array_equal(given(labels), right)
    np.testing.assert_array_equal(given(right, "labels"), right)
    for wrong in (right + 5, right - 1, right + 0.5, right[:5], np.eye(6)):
        assert given(wrong) is None
    assert classes_of(wild[1], model, 6) is None


def test_command_line(wild: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    data, out = tmp_path / "data.npz", tmp_path / "trained.tflite"
    np.savez(data, x=wild[1][:8], y=np.arange(8))
    found = run_midge("quantize", wild[0], "--data", data, "--train", "5", "-o", out, "--json")
    assert found.status == 0, found.err
    assert found.object["trained"] == {"steps": 5, "interrupted": False} and out.exists()
    text = run_midge("quantize", wild[0], "--data", data, "--train", "5").out
    assert "trained" in text and "5 steps" in text
