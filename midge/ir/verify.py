"""The rules that every Graph obeys; checked whenever one is built."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from midge.errors import ModelError
from midge.ir.graph import Graph, Node, State, Value
from midge.ir.types import DType, Quantization, TensorType

MAX_TENSOR_BYTES = 2**31 - 1
MAX_RANK = 8


def verify(graph: Graph) -> None:
    """Raise ModelError at the first broken rule."""
    _verify_ports(graph)
    for name, value in graph.values.items():
        where = f"{graph.name}: value {name!r}"
        _expect(value.name == name, where, f"a value named {value.name!r}", "the name it is listed under")
        verify_type(value.type, where)
        _verify_constant(value, where)
    _expect_unique((node.name for node in graph.nodes), graph.name, "node")
    defined = {name for name, value in graph.values.items() if value.is_constant} | set(graph.sources)
    for node in graph.nodes:
        _verify_node(graph, node, defined)
        defined.update(node.outputs)
    for name in graph.values:
        _expect(name in defined, f"{graph.name}: value {name!r}", "nothing that makes it",
                "a constant, a graph input, a state or the result of a node")  # fmt: skip
    for name in graph.outputs:
        _expect(name in defined, f"{graph.name}: output {name!r}", "no such value", "one that the graph makes")
    for state in graph.states:
        _verify_state(graph, state)


def verify_type(type_: TensorType, where: str) -> None:
    """Raise ModelError where shape or quantisation of a type break the rules."""
    _expect(len(type_.shape) <= MAX_RANK, where, f"{len(type_.shape)} dimensions", f"at most {MAX_RANK}")
    _expect(all(isinstance(size, int) and size >= 1 for size in type_.shape), where, f"shape {list(type_.shape)}",
            "positive dimensions")  # fmt: skip
    _expect(type_.bytes <= MAX_TENSOR_BYTES, where, f"shape {list(type_.shape)} of {type_.bytes} bytes",
            "less than 2 GiB")  # fmt: skip
    if type_.quantization is not None:
        _verify_quantization(type_, type_.quantization, where)


def _verify_quantization(type_: TensorType, quantization: Quantization, where: str) -> None:
    integer = type_.dtype not in (DType.FLOAT32, DType.BOOL)
    _expect(integer, where, f"a quantised {type_.dtype.value}", "quantisation of integers only")
    scales, zero_points, axis = quantization.scales, quantization.zero_points, quantization.axis
    _expect(len(scales) == len(zero_points), where, f"{len(scales)} scales and {len(zero_points)} zero points",
            "as many of both")  # fmt: skip
    if axis is None:
        _expect(len(scales) == 1, where, f"{len(scales)} scales without an axis", "one")
    else:
        _expect(0 <= axis < len(type_.shape), where, f"quantisation axis {axis} of rank {len(type_.shape)}",
                "an axis of the tensor")  # fmt: skip
        _expect(len(scales) == type_.shape[axis], where, f"{len(scales)} scales along an axis of {type_.shape[axis]}",
                "one for each index")  # fmt: skip
    for scale in scales:
        _expect(math.isfinite(scale) and scale > 0, where, f"the scale {scale!r}", "a positive, finite number")
    low, high = type_.dtype.limits
    for zero_point in zero_points:
        _expect(low <= zero_point <= high, where, f"the zero point {zero_point}", f"{low} to {high}")


def _verify_constant(value: Value, where: str) -> None:
    if value.data is None:
        return
    _expect(isinstance(value.data, np.ndarray) and value.data.dtype == value.type.dtype.numpy, where,
            f"constant data of type {value.data.dtype}", value.type.dtype.value)  # fmt: skip
    _expect(value.data.shape == value.type.shape, where, f"constant data of shape {list(value.data.shape)}",
            f"{list(value.type.shape)}")  # fmt: skip
    _expect(not value.data.flags.writeable, where, "constant data that can be written", "a read-only array")


def _verify_state(graph: Graph, state: State) -> None:
    where = f"{graph.name}: state {state.before!r}"
    _expect(state.after in graph.values, where, f"nothing named {state.after!r} to hold next", "a value of the graph")
    before, after = graph.values[state.before], graph.values[state.after]
    _expect(not after.is_constant, where, f"the constant {state.after!r} to hold next", "a value without data")
    _expect(before.type == after.type, where, f"{after.type} to hold next", f"{before.type}")
    initial = state.initial
    _expect(initial.dtype == before.type.dtype.numpy and initial.shape == before.type.shape, where,
            f"{initial.dtype}{list(initial.shape)} after a reset", f"{before.type}")  # fmt: skip
    _expect(not initial.flags.writeable, where, "initial data that can be written", "a read-only array")


def _verify_ports(graph: Graph) -> None:
    _expect(len(graph.outputs) > 0, graph.name, "no outputs", "at least one")
    _expect_unique(graph.inputs, graph.name, "input")
    _expect_unique(graph.sources, graph.name, "input or state")
    _expect_unique(graph.outputs, graph.name, "output")
    for name in graph.sources:
        _expect(name in graph.values, f"{graph.name}: input {name!r}", "no such value", "a value of the graph")
        _expect(
            not graph.values[name].is_constant, f"{graph.name}: input {name!r}", "a constant", "a value without data"
        )


def _verify_node(graph: Graph, node: Node, defined: set[str]) -> None:
    where = f"{graph.name}: node {node.name!r} ({node.op.name})"
    for name in node.inputs:
        if name is None:
            continue
        _expect(name in graph.values, where, f"the unknown operand {name!r}", "a value of the graph")
        _expect(name in defined, where, f"the operand {name!r} used before it is made", "nodes in execution order")
    _expect(len(node.outputs) > 0, where, "no result", "at least one")
    for name in node.outputs:
        _expect(name in graph.values, where, f"the unknown result {name!r}", "a value of the graph")
        _expect(name not in defined, where, f"the result {name!r} made a second time", "each value made once")
    _expect(len(set(node.outputs)) == len(node.outputs), where, "the same result twice", "each value made once")
    try:
        node.op.check(graph.input_types(node), graph.output_types(node))
    except ModelError as error:
        raise ModelError(where, error.found, error.expected, error.cure) from None


def _expect_unique(names: Iterable[str], where: str, kind: str) -> None:
    for name, count in Counter(names).items():
        _expect(count == 1, f"{where}: {kind} {name!r}", f"{count} of that name", "unique names")


def _expect(condition: bool, where: str, found: str, expected: str) -> None:
    if not condition:
        raise ModelError(where, found, expected)
