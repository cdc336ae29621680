"""Whole networks on this computer: equal to the interpreter, whatever the number of samples and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cli_runner import DIGITS, NANO, midge
from test_cli_mlperf import FLOAT, INTEGER

import midge as api
from midge import demo, pipeline
from midge.build.zig import host_library
from midge.emulate.host_library import PART_SAMPLES, run_host_library, useful_copies
from midge.errors import UsageError
from midge.ir.interpret import run_graph
from midge.reference.compare import Comparison
from midge.reference.samples import random_samples

IMAGES, LABELS = demo.digits_samples()


def test_all_digits_are_equal_to_the_interpreter() -> None:
    graph = api.load(demo.digits_model())
    (found,) = api.run_host(demo.digits_model(), IMAGES)
    assert found.shape == (len(IMAGES), 10) and found.dtype == np.int8
    expected = np.concatenate([run_graph(graph, [image[np.newaxis]])[0] for image in IMAGES])
    assert np.array_equal(found, expected)
    assert (found.argmax(1) == LABELS).mean() > 0.95


def test_forms_of_samples() -> None:
    program = api.compile(demo.digits_model(), board=NANO[1])
    (expected,) = program.run_host(IMAGES[:5])
    name = program.inputs[0].name
    stacked = IMAGES[:5].reshape(5, 1, 8, 8, 1)
    singles = list(stacked)
    for form in ({name: IMAGES[:5]}, stacked, IMAGES[:5, :, :, 0], singles, [(array,) for array in singles]):
        assert np.array_equal(program.run_host(form)[0], expected)
    assert np.array_equal(np.concatenate([out for (out,) in program.infer([(a,) for a in singles])]), expected)


@pytest.mark.parametrize(
    ("samples", "said"),
    [(IMAGES[:0], "no samples"), ([], "none"), (IMAGES.astype(np.float32), "float32"), (IMAGES[:, :4], "shape"),
     ({"a": IMAGES, "b": IMAGES}, "shape|arrays")],
)  # fmt: skip
def test_wrong_samples(samples: np.ndarray, said: str) -> None:
    if isinstance(samples, dict):
        samples = {"a": IMAGES[:2, :3], "b": IMAGES}
    with pytest.raises(UsageError, match=said):
        api.run_host(demo.digits_model(), samples)


def test_copies_share_the_work_and_callers_do_not_mix() -> None:
    model = api.open_model(demo.digits_model())
    many = np.concatenate([IMAGES] * 4).reshape(-1, 1, 8, 8, 1)
    alone = run_host_library(pipeline.make_host_library(model), [many])[0]
    library = pipeline.make_host_library(model, copies=3)
    assert len(set(library.paths)) == 3
    seen: list[int] = []
    assert np.array_equal(run_host_library(library, [many], seen.append)[0], alone)
    assert seen == sorted(seen) and seen[-1] == len(many) and len(seen) == -(-len(many) // PART_SAMPLES)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: run_host_library(library, [many])[0], range(4)):
            assert np.array_equal(found, alone)
    assert useful_copies(1) == 1


def test_another_processor_gets_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from midge.build import zig

    source = tmp_path / "answer.c"
    source.write_text("int answer(void) { return 42; }\n", encoding="utf-8")
    first = host_library(source, cpu="native")
    assert host_library(source, cpu="native") == first != host_library(source)
    monkeypatch.setattr(zig, "host_processor", lambda: "another")
    assert host_library(source, cpu="native") != first


def test_verify_on_host_needs_no_board() -> None:
    outcome = midge("verify", DIGITS, "--on", "host", "--samples", "30", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = outcome.object
    assert (found["on"], found["board"], found["clock_hz"], found["backend"]) == ("host", "host", None, "host")
    assert (found["samples"], found["values"], found["mismatches"]) == (30, 300, 0)
    text = midge("verify", DIGITS, "--on", "host", "--samples", "2")
    assert text.status == 0 and "on this computer (native" in text.out
    assert midge("verify", DIGITS, *NANO, "--samples", "1", "--json").object["on"] == "board"
    assert midge("verify", DIGITS).status == 2, "the board is still the default"


def test_verify_on_host_by_data_and_litert(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    np.savez(tmp_path / "d.npz", x=IMAGES, y=LABELS)
    found = midge(
        "verify", DIGITS, "--on", "host", "--data", tmp_path / "d.npz", "--against", "litert", "--json"
    ).object
    assert (found["samples"], found["mismatches"], found["data"]) == (len(IMAGES), 0, "d.npz")


def test_programs_verify_on_host_too() -> None:
    program = api.compile(demo.digits_model(), board=NANO[1])
    assert program.verify(samples=5, on="host").on == "host"
    assert program.verify(samples=1).on == "board"
    with pytest.raises(UsageError, match="board, host"):
        program.verify(on="moon")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [*INTEGER, *FLOAT])
def test_mlperf_tiny_models(mlperf_tiny: Path, model: str) -> None:
    opened = api.open_model(mlperf_tiny / f"{model}.tflite")
    graph = opened.graph
    samples = random_samples([graph.type(name) for name in graph.inputs], 12)
    outputs = api.run_host(opened, samples)
    total = Comparison()
    for number, sample in enumerate(samples):
        total = total.add(number, [array[number : number + 1] for array in outputs], run_graph(graph, sample))
    assert total.values and not total.mismatches
    assert model in FLOAT or total.max_abs_diff == 0


def test_numerics_reach_the_library(mlperf_tiny: Path) -> None:
    model = mlperf_tiny / "ad01_int8.tflite"
    for numerics in ("litert", "tflm"):
        assert not api.verify_host(model, 5, numerics=numerics).mismatches
    sample = np.random.default_rng(1).integers(-128, 128, (20, 1, 640)).astype(np.int8)
    (litert,), (tflm,) = (api.run_host(model, sample, numerics=numerics) for numerics in ("litert", "tflm"))
    assert litert.shape == tflm.shape and (litert != tflm).any()


def test_accuracy_of_the_keyword_model(shared: Path, mlperf_tiny: Path) -> None:
    with np.load(shared / "data" / "mlperf-tiny-kws" / "kws01_mfcc_int8.npz") as data:
        (scores,) = api.run_host(mlperf_tiny / "kws_ref_model.tflite", data["x"])
        assert (scores.argmax(1) == data["y"]).mean() > 0.9
