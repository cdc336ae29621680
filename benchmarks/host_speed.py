"""Inferences per second on this computer: `python benchmarks/host_speed.py [--data X.npz] [--samples N] MODEL …`.

Prints a line of Markdown for each model: the host library on one thread and on all processors, and LiteRT where it is
installed (its own optimised kernels, one thread, one sample after the other, and its reference kernels). The best of
three runs counts. Compiling takes a second or two the first time; later the library comes from the cache. With data
(arrays `x`, and `y` for labels) the accuracy is printed too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from midge import api, pipeline
from midge.emulate.host_library import run_host_library, useful_copies
from midge.load.model import Model
from midge.reference.samples import load_samples, random_samples

COLUMNS = (
    "model", "MACs", "samples", "plan and compile, s", "1 thread, per s", "all threads, per s", "threads",
    "LiteRT, per s", "LiteRT reference kernels, per s", "accuracy",
)  # fmt: skip
REPEATS = 3
REFERENCE_SAMPLES = 50
"""Reference kernels are slow; a few samples tell their speed."""


def main() -> None:
    """Measure each model and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--data", type=Path, help="samples `x`, and labels `y` if there are any")
    parser.add_argument("--samples", type=int, default=2000, help="random samples, without --data")
    arguments = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|---|{'---:|' * (len(COLUMNS) - 1)}")
    for path in arguments.models:
        print(_line(api.open_model(path), arguments.data, arguments.samples), flush=True)


def _line(model: Model, data: Path | None, count: int) -> str:
    ports = [(name, model.graph.type(name)) for name in model.graph.inputs]
    samples = load_samples(data, ports) if data else random_samples([type_ for _, type_ in ports], count)
    stacks = [np.stack(arrays) for arrays in zip(*samples, strict=True)]
    copies = useful_copies(len(samples))
    start = time.perf_counter()
    library = pipeline.make_host_library(model, copies)
    compile_seconds = time.perf_counter() - start
    one = pipeline.make_host_library(model)
    single = _rate(lambda: run_host_library(one, stacks), len(samples))
    spread = _rate(lambda: run_host_library(library, stacks), len(samples))
    outputs = run_host_library(library, stacks)
    return (f"| {model.name} | {model.graph.total_macs:,} | {len(samples):,} | {compile_seconds:.1f} | {single:,.0f} | "
            f"{spread:,.0f} | {copies} | {_litert_rate(model, samples, reference=False)} | "
            f"{_litert_rate(model, samples[:REFERENCE_SAMPLES], reference=True)} | {_accuracy(outputs[0], data)} |"
            )  # fmt: skip


def _rate(run: Callable[[], Any], samples: int) -> float:
    """Samples per second, the best of a few runs."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return samples / min(seconds)


def _litert_rate(model: Model, samples: Sequence[Sequence[np.ndarray]], *, reference: bool) -> str:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        return "not installed"
    resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(str(model.path), num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    inputs = [detail["index"] for detail in interpreter.get_input_details()]
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def run() -> None:
        for sample in samples:
            for index, array in zip(inputs, sample, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            for index in outputs:
                interpreter.get_tensor(index)

    return f"{_rate(run, len(samples)):,.0f}"


def _accuracy(scores: np.ndarray, data: Path | None) -> str:
    """How often the largest score is at the label; empty without labels."""
    if data is None:
        return ""
    with np.load(data, allow_pickle=False) as arrays:
        if "y" not in arrays.files:
            return ""
        hits = scores.reshape(len(scores), -1).argmax(1) == arrays["y"]
    return f"{hits.mean():.1%} ({hits.sum():,} of {len(hits):,})"


if __name__ == "__main__":
    main()
