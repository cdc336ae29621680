"""Operators of .tflite files whose operands stand in another order, or that have constants among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.ops.arg_extreme import ArgExtreme
from midge.ops.compare import Compare, Function
from midge.write.tflite_options import ELEMENT_TYPES


@dataclass(frozen=True, slots=True, eq=False)
class Further:
    """An operator's code, its operands (names of values, and constants), its options table (empty: none) and fields."""

    code: str
    operands: tuple[str | np.ndarray, ...]
    title: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def _arg_extreme(graph: Graph, node: Node) -> Further:
    op = node.op
    assert isinstance(op, ArgExtreme)
    if op.keep_dims:
        raise UnsupportedError(node.name, "an index that keeps its axis", "one that drops it, in .tflite files")
    kind = ("ARG_MAX", "ArgMaxOptions") if op.largest else ("ARG_MIN", "ArgMinOptions")
    result = ELEMENT_TYPES[graph.output_types(node)[0].dtype]
    return Further(kind[0], (node.inputs[0] or "", np.array(op.axis, np.int32)), kind[1], {"OutputType": result})


_LOGICAL = {Function.AND: "LOGICAL_AND", Function.OR: "LOGICAL_OR"}


def _compare(graph: Graph, node: Node) -> Further:
    op = node.op
    assert isinstance(op, Compare)
    return Further(_LOGICAL.get(op.function, op.function.name), _operands(node))


def _same(code: str, title: str = "") -> Callable[[Graph, Node], Further]:
    """An operator whose operands are the node's, without options of its own."""
    return lambda graph, node: Further(code, _operands(node), title)


def _operands(node: Node) -> tuple[str, ...]:
    return tuple(name for name in node.inputs if name is not None)


FURTHER: dict[str, Callable[[Graph, Node], Further]] = {
    "arg_extreme": _arg_extreme,
    "cast": _same("CAST"),
    "compare": _compare,
    "select": _same("SELECT_V2"),
}
"""By the operator's name."""
