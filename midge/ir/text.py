"""The text form of a Graph: `print_graph` and `parse_graph` are each other's inverse.

    graph "name"
    input %x: int8[1, 4, 4, 3] q(0.05, -128)
    constant %b: int32[2] = [17, -4]
    constant %w: int8[2, 3, 3, 3] q([0.01, 0.02], [0, 0], axis=0) = packed "eJz…"
    state %h: int8[1, 4] q(0.1, 3) = [3, 3, 3, 3]
    %y: int8[1, 4, 4, 2] q(0.1, 3) = conv2d(%x, %w, %b) stride_h=1 … padding=(1, 1, 1, 1) activation=relu @"conv2d_0"
    output %y
    next %h = %y_last

A line is one statement; `#` starts a comment. Names that are not plain words are quoted as in JSON: `%"a b"`. `none`
stands for an operand left out, `packed` for zlib-compressed little-endian bytes in base64. Constants stand before the
node that first reads them.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import json
import re
import zlib
from collections.abc import Iterator

import numpy as np

from midge.ir.graph import Graph, Node, Value
from midge.ir.text_parse import parse_graph
from midge.ir.types import TensorType
from midge.ops.base import Op

__all__ = ["parse_graph", "print_graph", "print_type"]

INLINE_ELEMENTS = 16
"""Constants up to this size are written as numbers."""
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")


def print_graph(graph: Graph, elide: bool = False) -> str:
    """The graph as text. With `elide` large constants are shown by a hash, for people; that does not parse back."""
    return "\n".join(_lines(graph, elide)) + "\n"


def print_type(type_: TensorType, elide: bool = False) -> str:
    """`int8[1, 4] q(0.5, -128)`. With `elide` long lists of scales are cut short."""
    text = f"{type_.dtype.value}[{', '.join(map(str, type_.shape))}]"
    quantization = type_.quantization
    if quantization is None:
        return text
    if quantization.axis is None:
        return f"{text} q({quantization.scale!r}, {quantization.zero_point})"
    scales = ", ".join(map(repr, quantization.scales))
    zero_points = ", ".join(map(str, quantization.zero_points))
    if elide and len(quantization.scales) > 4:
        scales, zero_points = f"{len(quantization.scales)} scales", "…"
    return f"{text} q([{scales}], [{zero_points}], axis={quantization.axis})"


def _lines(graph: Graph, elide: bool) -> Iterator[str]:
    yield f"graph {json.dumps(graph.name)}"
    printed: set[str] = set()
    for name in graph.inputs:
        yield f"input {_name(name)}: {print_type(graph.type(name))}"
    for state in graph.states:
        type_ = print_type(graph.type(state.before), elide)
        yield f"state {_name(state.before)}: {type_} = {_data(state.initial, elide)}"
    for node in graph.nodes:
        for name in node.inputs:
            if name is not None and graph.values[name].is_constant and name not in printed:
                printed.add(name)
                yield _constant(graph.values[name], elide)
        yield _node(graph, node)
    for value in graph.constants():
        if value.name not in printed:
            yield _constant(value, elide)
    yield f"output {', '.join(map(_name, graph.outputs))}"
    for state in graph.states:
        yield f"next {_name(state.before)} = {_name(state.after)}"


def _name(name: str) -> str:
    return f"%{name}" if _PLAIN_NAME.fullmatch(name) else f"%{json.dumps(name)}"


def _constant(value: Value, elide: bool) -> str:
    assert value.data is not None
    return f"constant {_name(value.name)}: {print_type(value.type, elide)} = {_data(value.data, elide)}"


def _data(data: np.ndarray, elide: bool) -> str:
    if data.size <= INLINE_ELEMENTS and (data.dtype.kind != "f" or np.isfinite(data).all()):
        return f"[{', '.join(map(repr, data.reshape(-1).astype(_inline_type(data)).tolist()))}]"
    raw = data.astype(data.dtype.newbyteorder("<")).tobytes()
    if elide:
        return f'elided "sha256:{hashlib.sha256(raw).hexdigest()[:16]}"'
    return f'packed "{base64.b64encode(zlib.compress(raw, 9)).decode()}"'


def _inline_type(data: np.ndarray) -> type:
    return float if data.dtype.kind == "f" else int


def _node(graph: Graph, node: Node) -> str:
    results = ", ".join(f"{_name(name)}: {print_type(graph.type(name))}" for name in node.outputs)
    operands = ", ".join("none" if name is None else _name(name) for name in node.inputs)
    attributes = "".join(f" {name}={text}" for name, text in _attributes(node.op))
    return f"{results} = {node.op.name}({operands}){attributes} @{json.dumps(node.name)}"


def _attributes(op: Op) -> Iterator[tuple[str, str]]:
    assert dataclasses.is_dataclass(op)
    for field in dataclasses.fields(op):
        yield field.name, _attribute(getattr(op, field.name))


def _attribute(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, str):
        return json.dumps(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        return f"({', '.join(map(_attribute, value))})"
    return repr(value)
