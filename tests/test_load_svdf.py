"""SVDF layers with a state: the interpreter, LiteRT, the importer and firmware over a sequence of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from litert_runner import assert_equal

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate_many
from midge.errors import UnsupportedError
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_sequence
from midge.load.tflite import graph_of, load_tflite
from midge.ops.base import Case
from midge.ops.cases import random_inputs
from midge.ops.svdf import CASES
from midge.plan import PlanOptions, plan
from midge.targets import core_board
from midge.write.tflite import write_tflite

SAMPLES = 12
WITH_LITERT = [pytest.param(case, id=case.name) for case in CASES if case.name != "state8"]
"""LiteRT has no state of int8; TensorFlow Lite Micro has."""


def with_state(case: Case, seed: int) -> Graph:
    """The case's graph with its memory as a state."""
    graph = case.build(np.random.default_rng(seed))
    builder = GraphBuilder.of(graph)
    builder.inputs.remove("held")
    builder.outputs.remove("after")
    type_ = graph.type("held")
    builder.state("held", "after", np.full(type_.shape, type_.zero_point, type_.dtype.numpy))
    return builder.build()


def samples_of(graph: Graph) -> list[tuple[np.ndarray, ...]]:
    return [random_inputs(graph, np.random.default_rng(seed)) for seed in range(SAMPLES)]


def litert_sequence(content: bytes, samples: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    runtime = interpreter.Interpreter(
        model_content=content, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    runtime.allocate_tensors()
    (source,), (result,) = runtime.get_input_details(), runtime.get_output_details()
    found = []
    for (x,) in samples:
        runtime.set_tensor(source["index"], x)
        runtime.invoke()
        found.append(runtime.get_tensor(result["index"]))
    return found


@pytest.mark.parametrize("case", WITH_LITERT)
def test_a_sequence_equals_litert(case: Case):
    for seed in range(3):
        graph = with_state(case, seed)
        samples, content = samples_of(graph), write_tflite(graph)
        if graph.type("held").dtype.is_float and graph.nodes[0].inputs[3] is None:
            pytest.skip("LiteRT's kernel of float32 reads a bias always")
        expected = litert_sequence(content, samples)
        assert len({x.tobytes() for x in expected}) > 1
        for number, (y, (found,)) in enumerate(zip(expected, run_sequence(graph, samples), strict=True)):
            assert_equal(y, found, f"{case.name} seed {seed} sample {number}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_importer_gives_the_graph_back(case: Case):
    graph = with_state(case, 0)
    samples = samples_of(graph)
    imported = graph_of(write_tflite(graph), "svdf.tflite", "svdf")
    for ours, theirs in zip(run_sequence(graph, samples), run_sequence(imported, samples), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", ["rank2", "float"])
def test_firmware_hands_the_memory_on(tmp_path: Path, name: str):
    (case,) = (case for case in CASES if case.name == name)
    graph, board = with_state(case, 1), core_board("cortex-m4")
    samples = samples_of(graph)
    sources = emit(plan(graph, board, PlanOptions()), prefix="net", command="", model_sha256="")
    sources = replace(sources, init_symbol=None)
    image = build(sources, board, tmp_path)
    for made, expected in zip(emulate_many(image, sources, board, samples), run_sequence(graph, samples), strict=True):
        assert_equal(expected[0], made[0].reshape(expected[0].shape), name)


def test_a_memory_that_is_no_state_is_not_written():
    with pytest.raises(UnsupportedError, match="an SVDF layer whose memory is no state"):
        write_tflite(CASES[0].build(np.random.default_rng(0)))


@pytest.mark.parametrize("name", ["keyword_scrambled", "keyword_scrambled_8bit"])
def test_tensorflow_lite_micros_keyword_models_are_read(shared: Path, name: str):
    graph = load_tflite(shared / "models" / "zoo" / "models" / "tflm" / f"{name}.tflite")
    assert sum(node.op.name == "svdf" for node in graph.nodes) == len(graph.states) == 7
