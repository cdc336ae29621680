"""What the exact passes remove from models: `python benchmarks/folding.py [--layers] MODEL …`.

Prints multiply-accumulates and bytes of constants before and after, the time that the passes took, and how many inputs
gave equal outputs (random ones, and images of the lowest and of the highest value).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from midge import load
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph
from midge.passes import PassOptions, run_passes
from midge.passes.fold_report import FoldReport
from midge.targets import core_board

SAMPLES = 20


def main(arguments: list[str]) -> None:
    """Fold each model and print a line of Markdown for it, or one for each layer that became smaller."""
    print("| model | MACs before | after | bytes of constants before | after | passes, ms | equal outputs |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for path in (Path(name) for name in arguments if name != "--layers"):
        reports: list[FoldReport] = []
        graph = load(path)
        start = time.perf_counter()
        after = run_passes(graph, core_board("cortex-m4"), PassOptions(report=reports.append))
        taken_ms = (time.perf_counter() - start) * 1e3
        equal = [_equal(graph, after, inputs) for inputs in _inputs(graph)]
        print(f"| {path.stem} | {graph.total_macs:,} | {after.total_macs:,} | {_constant_bytes(graph):,} | "
              f"{_constant_bytes(after):,} | {taken_ms:.0f} | {sum(equal)} of {len(equal)} |")  # fmt: skip
        if "--layers" in arguments:
            _print_layers(reports)


def _print_layers(reports: list[FoldReport]) -> None:
    for report in reports:
        for layer in report.layers:
            old, new = layer.before, layer.after
            print(f"| {report.pass_name}: {layer.name}, {old.channels} → {new.channels} channels | {old.macs:,} | "
                  f"{new.macs:,} | {old.weight_bytes:,} | {new.weight_bytes:,} | | |")  # fmt: skip


def _inputs(graph: Graph) -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    for number in range(SAMPLES):
        arrays = []
        for type_ in (graph.type(name) for name in graph.inputs):
            if type_.dtype.is_float:
                arrays.append(rng.standard_normal(type_.shape).astype(np.float32))
                continue
            low, high = type_.dtype.limits
            drawn = (
                rng.integers(low, high + 1, type_.shape) if number > 1 else np.full(type_.shape, (low, high)[number])
            )
            arrays.append(drawn.astype(type_.dtype.numpy))
        yield arrays


def _equal(before: Graph, after: Graph, inputs: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, run_graph(before, inputs), run_graph(after, inputs)))


def _constant_bytes(graph: Graph) -> int:
    return sum(value.type.bytes for value in graph.constants())


if __name__ == "__main__":
    main(sys.argv[1:])
