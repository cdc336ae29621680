"""Wild networks through the whole line: `python tests/wild_fuzz.py FIRST LAST [--cores A,B] [--every] [--litert]`.

Each seed from FIRST to LAST - 1 makes a network (`wild_networks.py`), which is compiled for a core and run on the
emulated core, with random inputs and with inputs at the ends of the range. What comes first, and how the input is
taken, follows from the seed too (`--every`: all combinations). Every output must be the interpreter's, integers bit by
bit. `--litert` compares the interpreter with LiteRT's reference kernels as well, for networks that the .tflite format
has.

A line for each failure: seed, combination, what is wrong, and the first layer that fails when the network is cut behind
it. The exit code is 1 where there is one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from litert_runner import run_litert
from wild_networks import wild_network

import midge
from midge import pipeline
from midge.errors import MidgeError, UnsupportedError
from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.interpret import run_graph
from midge.ops.base import Rounding
from midge.ops.cases import random_inputs
from midge.ops.fully_connected import FullyConnected
from midge.passes.dead import run as without_dead
from midge.passes.options import PassOptions
from midge.plan.pushed import refuse_rows
from midge.reference.compare import differences
from midge.targets import core_board
from midge.write.tflite import write_tflite

CORES = ("cortex-m4", "cortex-m0plus", "rv32imc", "cortex-m7", "cortex-m33")
GOALS = ("latency", "ram", "flash")
BY = ("frame", "rows")


@dataclass(frozen=True, slots=True)
class Combination:
    """What a network is compiled for."""

    core: str
    optimize: str
    input_by: str

    def __str__(self) -> str:
        return f"{self.core} {self.optimize} {self.input_by}"


@dataclass(slots=True)
class Tally:
    """What came of all."""

    equal: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def combinations(graph: Graph, seed: int, cores: Sequence[str], every: bool) -> Iterator[Combination]:
    """All of them; or one, so that seeds in a row have different ones."""
    ways = BY if refuse_rows(graph) is None else BY[:1]
    found = [Combination(*each) for each in itertools.product(cores, GOALS, ways)]
    yield from found if every else [found[seed * 7 % len(found)]]


def samples_of(graph: Graph, seed: int) -> list[tuple[np.ndarray, ...]]:
    """Two random samples, all lowest, all highest, and a checkerboard."""
    rng = np.random.default_rng(seed)
    samples = [random_inputs(graph, rng) for _ in range(2)]
    low, high = (-8.0, 8.0) if graph.type(graph.inputs[0]).dtype.is_float else (-128, 127)
    for make in (lambda shape: np.full(shape, low), lambda shape: np.full(shape, high),
                 lambda shape: np.where(np.indices(shape).sum(0) % 2, low, high)):  # fmt: skip
        samples.append(tuple(make(t.shape).astype(t.dtype.numpy) for t in map(graph.type, graph.inputs)))
    return samples


def failure(graph: Graph, how: Combination, samples: Sequence[tuple[np.ndarray, ...]]) -> str | None:
    """None where firmware and interpreter agree; else what is wrong. Raises UnsupportedError where refused."""
    try:
        program = midge.compile(graph, core=how.core, optimize=how.optimize, input_by=how.input_by)  # type: ignore[arg-type]
        found = pipeline.run_samples(program.compiled, samples, None)
    except UnsupportedError:
        raise
    except MidgeError as error:
        return f"{type(error).__name__}: {error.message().strip()[:300]}"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error}, {Path(place.filename).name}:{place.lineno}"
    return difference(graph, samples, found)


def difference(graph: Graph, samples: Sequence[tuple[np.ndarray, ...]], found: Sequence[Sequence[np.ndarray]]
               ) -> str | None:  # fmt: skip
    """The first output that is not the interpreter's."""
    for number, (inputs, outputs) in enumerate(zip(samples, found, strict=True)):
        for name, ours, expected in zip(graph.outputs, outputs, run_graph(graph, inputs), strict=True):
            wrong, most, _ = differences(ours, expected)
            if wrong.any():
                return f"{name}, sample {number}: {int(wrong.sum())} of {wrong.size} values differ, by at most {most}"
    return None


def cut(graph: Graph, name: str) -> Graph:
    """The part of a graph that makes one value, its only output."""
    builder = GraphBuilder.of(graph)
    builder.outputs, builder.states = [name], []
    builder.inputs += [state.before for state in graph.states]
    return without_dead(builder.build(), core_board("cortex-m4"), PassOptions())


def first_wrong(graph: Graph, how: Combination, seed: int) -> str:
    """The first value that is wrong when it is an output, and the layer that makes it."""
    for node in graph.nodes:
        for name in node.outputs:
            part = cut(graph, name)
            try:
                if failure(part, how, samples_of(part, seed)) is not None:
                    kinds = ", ".join(str(graph.type(value)) for value in node.inputs if value is not None)
                    return f"{node.name} = {node.op} of {kinds} to {graph.type(name)}"
            except UnsupportedError:
                continue
    return "the whole network only"


def against_litert(graph: Graph, samples: Sequence[tuple[np.ndarray, ...]], tally: Tally) -> str | None:
    """The interpreter against LiteRT, where the format has the network."""
    if graph.states or any(map(_rounds_twice, graph.nodes)):
        return None
    try:
        content = write_tflite(graph)
    except UnsupportedError as error:
        tally.refused[f"litert: {error}"[:100]] += 1
        return None
    try:
        found = [run_litert(content, inputs) for inputs in samples]
    except (ValueError, RuntimeError) as error:  # it has no reference kernel for it, or wants other scales
        tally.refused[f"litert: {error}"[:60]] += 1
        return None
    return difference(graph, samples, found)


def _rounds_twice(node: Node) -> bool:
    """True for what TensorFlow Lite Micro does and LiteRT does not."""
    return isinstance(node.op, FullyConnected) and node.op.rounding is Rounding.DOUBLE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--cores", default=",".join(CORES))
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--litert", action="store_true")
    chosen = parser.parse_args(arguments)
    tally = Tally()
    for seed in range(chosen.first, chosen.last):
        graph = wild_network(seed)
        samples = samples_of(graph, seed)
        wrong = against_litert(graph, samples, tally) if chosen.litert else None
        if wrong is not None:
            tally.failures.append(f"{seed} LiteRT: {wrong}")
            print(tally.failures[-1], flush=True)
        for how in combinations(graph, seed, chosen.cores.split(","), chosen.every):
            try:
                wrong = failure(graph, how, samples)
            except UnsupportedError as error:
                tally.refused[error.message().split(": ", 1)[1][:100]] += 1
                continue
            if wrong is None:
                tally.equal += 1
                continue
            tally.failures.append(f"{seed} {how}: {wrong}\n    {first_wrong(graph, how, seed)}")
            print(tally.failures[-1], flush=True)
    print(f"{tally.equal} equal, {len(tally.failures)} failed, {sum(tally.refused.values())} refused")
    for reason, count in tally.refused.most_common():
        print(f"    {count} × {reason}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
