"""The interpreter: runs a Graph on the operators' NumPy references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from midge.errors import InternalError, UsageError
from midge.ir.graph import Graph, Node


def run_graph(graph: Graph, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The outputs for these inputs, from reset, in the order of `graph.outputs`."""
    values = run_graph_values(graph, inputs)
    return tuple(values[name] for name in graph.outputs)


def run_sequence(graph: Graph, sequence: Iterable[Sequence[np.ndarray]]) -> Iterator[tuple[np.ndarray, ...]]:
    """The outputs of inferences one after the other: each finds the states as the one before left them."""
    held: dict[str, np.ndarray] = {}
    for inputs in sequence:
        values = run_graph_values(graph, inputs, held)
        held = {state.before: values[state.after] for state in graph.states}
        yield tuple(values[name] for name in graph.outputs)


def run_graph_values(
    graph: Graph, inputs: Sequence[np.ndarray], held: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Every value of the graph by name: inputs, constants and all results.

    `held` is what states hold, by the name of their value `before`; those that it leaves out are as after a reset.
    """
    values = {value.name: value.data for value in graph.constants() if value.data is not None}
    values.update({state.before: (held or {}).get(state.before, state.initial) for state in graph.states})
    values.update(_bound_inputs(graph, inputs))
    for node in graph.nodes:
        results = evaluate_node(graph, node, [None if name is None else values[name] for name in node.inputs])
        values.update(zip(node.outputs, results, strict=True))
    return values


def evaluate_node(graph: Graph, node: Node, operands: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """The results of one node, checked against their types."""
    output_types = graph.output_types(node)
    results = node.op.evaluate(operands, graph.input_types(node), output_types)
    for type_, result in zip(output_types, results, strict=True):
        if result.dtype != type_.dtype.numpy or result.shape != type_.shape:
            raise InternalError(f"reference of {node.name!r} ({node.op.name})",
                                f"a result {result.dtype}{list(result.shape)}",
                                f"{type_.dtype.value}{list(type_.shape)}")  # fmt: skip
    return results


def _bound_inputs(graph: Graph, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    if len(inputs) != len(graph.inputs):
        raise UsageError(graph.name, f"{len(inputs)} inputs", f"{len(graph.inputs)}: {', '.join(graph.inputs)}")
    for name, array in zip(graph.inputs, inputs, strict=True):
        type_ = graph.type(name)
        if array.dtype != type_.dtype.numpy or array.shape != type_.shape:
            raise UsageError(f"{graph.name}: input {name!r}", f"an array {array.dtype}{list(array.shape)}",
                             f"{type_.dtype.value}{list(type_.shape)}")  # fmt: skip
    return dict(zip(graph.inputs, inputs, strict=True))
