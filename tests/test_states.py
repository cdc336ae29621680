"""States: values that live from one inference to the next, in the graph, the interpreter, and the firmware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midge.build import build
from midge.emit import emit
from midge.emulate import emulate_many
from midge.errors import ModelError
from midge.ir.interpret import run_graph, run_sequence
from midge.ir.text import parse_graph, print_graph
from midge.load import load
from midge.ops.cases import random_inputs
from midge.passes.dead import run as remove_dead
from midge.passes.options import PassOptions
from midge.plan import PlanOptions, plan
from midge.targets import core_board

DELAYS = """graph "delays"
input %x: int8[1, 4] q(0.1, 3)
state %h: int8[1, 4] q(0.1, 3) = [0, 0, 0, 0]
state %g: int8[1, 4] q(0.1, 3) = [0, 0, 0, 0]
%y: int8[1, 4] q(0.2, -3) = add(%x, %h) activation=none @"add"
%z: int8[1, 4] q(0.1, 3) = sub(%x, %g) activation=none @"sub"
output %y
next %h = %z
next %g = %h
"""
"""What one state holds goes to the other, so that the order in which they are handed on matters."""


def test_states_print_and_parse_back():
    graph = parse_graph(DELAYS)
    assert print_graph(graph) == DELAYS
    assert graph.sources == ("x", "h", "g") and graph.sinks == ("y", "z", "h")


@pytest.mark.parametrize(("line", "instead", "message"), [
    ("next %h = %z", "", "nothing named '' to hold next"),
    ("next %h = %z", "next %h = %y", "to hold next; expected"),
    ("next %h = %z", "next %x = %z", "a next value of 'x'; expected the name of a state"),
    ("state %h: int8[1, 4] q(0.1, 3) = [0, 0, 0, 0]", "", "a next value of 'h'; expected the name of a state"),
])  # fmt: skip
def test_broken_states_are_named(line: str, instead: str, message: str):
    with pytest.raises(ModelError, match=message.replace("[", r"\[")):
        parse_graph(DELAYS.replace(line, instead))


def test_a_sequence_hands_states_on_and_a_run_begins_from_reset():
    graph = parse_graph(DELAYS)
    samples = [random_inputs(graph, np.random.default_rng(seed)) for seed in range(4)]
    found = list(run_sequence(graph, samples))
    assert np.array_equal(found[0][0], run_graph(graph, samples[0])[0])
    assert not np.array_equal(found[1][0], run_graph(graph, samples[1])[0])
    assert not np.array_equal(found[3][0], list(run_sequence(graph, samples[1:]))[2][0])


def test_what_only_a_state_needs_is_kept():
    graph = parse_graph(DELAYS)
    board = core_board("cortex-m4")
    assert remove_dead(graph, board, PassOptions()) is graph


@pytest.mark.parametrize("optimize", ["latency", "ram"])
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_firmware_hands_states_on(tmp_path: Path, core: str, optimize: str):
    """Without its reset the harness runs a sequence: the memory of states is nobody else's."""
    graph, board = parse_graph(DELAYS), core_board(core)
    made = plan(graph, board, PlanOptions(optimize=optimize))
    sources = emit(made, prefix="net", command="test", model_sha256="0" * 64)
    assert sources.init_symbol == "net_reset"
    samples = [random_inputs(graph, np.random.default_rng(seed)) for seed in range(6)]
    for made, expected in (
        (replace(sources, init_symbol=None), list(run_sequence(graph, samples))),
        (sources, [run_graph(graph, sample) for sample in samples]),
    ):
        folder = tmp_path / str(made.init_symbol)
        folder.mkdir()
        for a, b in zip(expected, emulate_many(build(made, board, folder), made, board, samples), strict=True):
            assert np.array_equal(a[0], b[0])


def test_streaming_model_is_a_sequence_as_in_litert(shared: Path):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    path = shared / "models" / "zoo" / "models" / "esphome_microwakeword" / "vad.tflite"
    graph = load(path)
    assert len(graph.states) == 4
    samples = [random_inputs(graph, np.random.default_rng(seed)) for seed in range(6)]
    runtime = interpreter.Interpreter(
        model_path=str(path), experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    runtime.allocate_tensors()
    for (sample,), (found,) in zip(samples, run_sequence(graph, samples), strict=True):
        runtime.set_tensor(runtime.get_input_details()[0]["index"], sample)
        runtime.invoke()
        assert np.array_equal(runtime.get_tensor(runtime.get_output_details()[0]["index"]), found)
