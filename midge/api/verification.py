"""Firmware, or the same network on this computer, against a reference, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midge import pipeline
from midge.build import zig
from midge.build.compiled import Compiled
from midge.ir.graph import Graph
from midge.load.model import Model
from midge.pipeline import Progress
from midge.reference import Reference, open_reference
from midge.reference.compare import RULE, STEP_RULE, Comparison, FirstDifference, differences
from midge.reference.kinds.numpy import Interpreter
from midge.report.records import Mismatch, Verification
from midge.targets.host import host_board
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class _Runner:
    """What made the outputs: where, from which compiler, on which back end."""

    on: str
    board: Board
    compiler: str
    backend: str


def verify_firmware(
    compiled: Compiled, samples: Sequence[Sequence[np.ndarray]], against: str, data: str, progress: Progress | None
) -> Verification:
    """Run every sample on the emulated board and in the reference, and compare all output values."""
    backend = compiled.board.backend
    pipeline.require_emulated(compiled.board, backend)
    reference = open_reference(against, compiled.model)
    found = pipeline.run_samples(compiled, samples, progress)
    runner = _Runner("board", compiled.board, compiled.image.compiler, backend)
    return _compared(compiled.model, runner, samples, found, reference, against, data, None)


def verify_on_host(
    model: Model, samples: Sequence[Sequence[np.ndarray]], against: str, data: str, progress: Progress | None
) -> Verification:
    """The same on this computer: its kernels, and the compiler for it, are not those of a board."""
    reference = open_reference(against, model)
    stacks = pipeline.run_on_host(model, samples)
    runner = _Runner("host", host_board(), f"zig cc {zig.version()}", "host")
    # The library is quick: nearly all of the time goes to the reference.
    return _compared(model, runner, samples, list(zip(*stacks, strict=True)), reference, against, data, progress)


def _compared(
    model: Model, runner: _Runner, samples: Sequence[Sequence[np.ndarray]], found: Sequence[Sequence[np.ndarray]],
    reference: Reference, against: str, data: str, progress: Progress | None,
) -> Verification:  # fmt: skip
    total = Comparison()
    for number, (outputs, inputs) in enumerate(zip(found, samples, strict=True)):
        total = total.add(number, outputs, reference.run(inputs), reference.steps)
        if progress is not None:
            progress(number + 1)
    return Verification(
        model=model.name,
        board=runner.board,
        reference=against,
        reference_version=reference.version,
        numerics=model.numerics,
        data=data,
        samples=len(samples),
        values=total.values,
        mismatches=total.mismatches,
        max_abs_diff=total.max_abs_diff,
        max_rel_diff=total.max_rel_diff,
        tolerance=STEP_RULE if any(reference.steps) else RULE,
        first=None if total.first is None else _mismatch(model.graph, total.first, samples, reference),
        compiler=runner.compiler,
        backend=runner.backend,
        on=runner.on,
    )


def _mismatch(
    graph: Graph, first: FirstDifference, samples: Sequence[Sequence[np.ndarray]], reference: Reference
) -> Mismatch:
    return Mismatch(
        sample=first.sample,
        output=graph.outputs[first.output],
        index=first.index,
        firmware=first.firmware,
        reference=first.reference,
        layer=_first_layer(graph, graph.outputs[first.output], samples[first.sample], reference),
    )


def _first_layer(graph: Graph, output: str, inputs: Sequence[np.ndarray], reference: Reference) -> str:
    """Where the reference shows its inner tensors: the first layer at which Midge's interpreter leaves it.

    Where it shows none, or the interpreter agrees with all of them, the layer that makes the output.
    """
    theirs = reference.values(inputs)
    ours = Interpreter(graph).values(inputs)
    for node in graph.nodes:
        for name in node.outputs:
            if name in theirs and name in ours and differences(ours[name], theirs[name])[0].any():
                return node.name
    producer = graph.producer(output)
    return producer.name if producer is not None else output
