"""Every kernel on every case that it takes, put together into few networks, so that few programs test many kernels."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np

from midge.emit import Sources, emit
from midge.errors import InternalError
from midge.ir.graph import Graph, GraphBuilder
from midge.ir.interpret import run_graph_values
from midge.ir.types import DType, Quantization, TensorType
from midge.kernels import kernel_files
from midge.kernels.base import Kernel
from midge.ops import CASES
from midge.ops.base import Activation, Padding, Rounding, is_activation
from midge.ops.cases import random_inputs
from midge.ops.copy import Copy
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.plan import PlanOptions, plan
from midge.targets.records import Board, Core

FLOAT_TOLERANCE = 1e-5
PLACES = ("alone", "between")
"""Alone, operands and result are whole tensors. Between other layers they are rings of rows, the result has padding
round it where it can, and may overwrite an operand."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One case under one kernel. `node` names the node of the case in the graph."""

    name: str
    node: str
    kernel: Kernel
    graph: Graph


@dataclass(frozen=True, slots=True)
class Batch:
    """Trials side by side in one network: trial i has the inputs and nodes whose names start with `t<i>_`."""

    trials: tuple[Trial, ...]
    graph: Graph
    sources: Sources
    samples: tuple[tuple[np.ndarray, ...], ...]

    def compare(self, sample: int, outputs: Sequence[np.ndarray]) -> list[str]:
        """What differs from the references, a line for each trial that fails."""
        values = run_graph_values(self.graph, self.samples[sample])
        failures = []
        for name, found in zip(self.graph.outputs, outputs, strict=True):
            trial = self.trials[int(name.split("_")[0][1:])]
            difference = _difference(found, values[name])
            if difference:
                failures.append(f"{trial.name}, {name}, sample {sample}: {difference}")
        return failures


def trials(op: str, isas: Sequence[str], core: Core, places: Sequence[str] = PLACES) -> Iterator[Trial]:
    """All trials of one operator with the kernels of these instruction sets."""
    kernels = [kernel for isa in isas for kernel in kernel_files().get((op, isa), ())]
    for case in CASES[op]:
        for place in places:
            rng = np.random.default_rng(zlib.crc32(f"{op} {case.name}".encode()))
            graph = case.build(rng)
            node = graph.nodes[0]
            legal = [kernel for kernel in kernels if kernel.refuse(node, graph, core) is None]
            faster = [offer.kernel for kernel in legal for offer in kernel.faster(node, graph, core)]
            for kernel in (*legal, *faster):
                placed = graph if place == "alone" else between(graph)
                yield Trial(f"{op} {case.name} {kernel.name} {place}", node.name, kernel, placed)


def between(graph: Graph) -> Graph:
    """The graph with copies before its inputs and an exact layer after its outputs."""
    builder = GraphBuilder(graph.name)
    names: dict[str, str] = {}
    for value in graph.values.values():
        names[value.name] = builder.value(f"{value.name}_inner", value.type, value.data)
    for name in graph.inputs:
        builder.inputs.append(builder.value(name, graph.type(name)))
        builder.node(Copy(), [name], [names[name]], name=f"{name}_in")
    for node in graph.nodes:
        builder.node(node.op, [name and names[name] for name in node.inputs],
                     [names[name] for name in node.outputs], name=node.name)  # fmt: skip
    for name in graph.outputs:
        builder.outputs.append(builder.value(name, graph.type(name)))
        _identity(builder, names[name], name)
    return builder.build()


def _identity(builder: GraphBuilder, x: str, y: str) -> None:
    """A layer that changes nothing: a 3x3 convolution, which wants padding, where it can be one; else a copy."""
    type_ = builder.values[x].type
    takes_layer = type_.dtype is DType.FLOAT32 or is_activation(type_)
    if len(type_.shape) != 4 or type_.shape[0] != 1 or not takes_layer:
        builder.node(Copy(), [x], [y], name=f"{y}_out")
        return
    is_float = type_.dtype is DType.FLOAT32
    data = np.zeros((1, 3, 3, type_.channels), np.float32 if is_float else np.int8)
    data[0, 1, 1] = 1 if is_float else 64
    quantization = None if is_float else Quantization((1 / 64,), (0,), None)
    weights_dtype = DType.FLOAT32 if is_float else DType.INT8
    weights = builder.value(f"{y}_weights", TensorType(weights_dtype, data.shape, quantization), data)
    rounding = Rounding.REDUCED if type_.dtype is DType.INT16 else Rounding.DOUBLE
    op = DepthwiseConv2D(1, 1, 1, 1, Padding(1, 1, 1, 1), Activation.NONE, rounding, depth_multiplier=1)
    builder.node(op, [x, weights, None], [y], name=f"{y}_out")


def batches(chosen: Sequence[Trial], board: Board, size: int, prefix: str, samples: int = 2,
            optimize: str = "latency") -> Iterator[Batch]:  # fmt: skip
    """The trials in networks of up to `size`, each emitted for a board; `optimize` is what code is written for."""
    for start in range(0, len(chosen), size):
        part = tuple(chosen[start : start + size])
        graph = _joined(part)
        kernels = {f"t{i}_{trial.node}": trial.kernel for i, trial in enumerate(part)}
        planned = replace(_planned(graph, board, kernels), options=PlanOptions(optimize))
        sources = emit(planned, prefix=f"{prefix}_{start // size}", command="", model_sha256="")
        rng = np.random.default_rng(start)
        yield Batch(part, graph, sources, tuple(random_inputs(graph, rng) for _ in range(samples)))


def portable(board: Board) -> Board:
    """The board with portable kernels only."""
    return replace(board, core=replace(board.core, isas=("portable",)))


def _joined(parts: Sequence[Trial]) -> Graph:
    """All graphs in one, the names of each with a prefix of their own."""
    builder = GraphBuilder("trials")
    for index, trial in enumerate(parts):
        for value in trial.graph.values.values():
            builder.value(f"t{index}_{value.name}", value.type, value.data)
        for node in trial.graph.nodes:
            inputs = [name and f"t{index}_{name}" for name in node.inputs]
            builder.node(node.op, inputs, [f"t{index}_{n}" for n in node.outputs], name=f"t{index}_{node.name}")
        builder.inputs += [f"t{index}_{name}" for name in trial.graph.inputs]
        builder.outputs += [f"t{index}_{name}" for name in trial.graph.outputs]
    return builder.build()


def _planned(graph: Graph, board: Board, kernels: Mapping[str, Kernel]):
    """The plan in which these nodes have these kernels."""

    # Trials do not need the smallest arena, only a right one: no long search for it.
    with patch("midge.plan.arena._SEARCH_NODES", 0):
        made = plan(graph, board, PlanOptions(), kernels)
    for task in made.tasks:
        if task.binding.kernel is not kernels.get(task.node.name, task.binding.kernel):
            raise InternalError(task.node.name, f"the kernel {task.binding.kernel.name}")
    return made


def _difference(found: np.ndarray, expected: np.ndarray) -> str:
    """What differs; empty where nothing does."""
    if expected.dtype.kind != "f":
        wrong = np.flatnonzero(found.reshape(-1) != expected.reshape(-1))
        if wrong.size == 0:
            return ""
        at = int(wrong[0])
        first = f"the first at {at}: {found.flat[at]} for {expected.flat[at]}"
        return f"{wrong.size} of {expected.size} values differ, {first}"
    error = float(np.max(np.abs(found - expected)) / (np.max(np.abs(expected)) or 1.0))
    return "" if error <= FLOAT_TOLERANCE else f"relative error {error:.2g}"
