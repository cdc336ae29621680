"""Operators of .tflite files whose operands stand in another order, or that have constants among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.ops.arg_extreme import ArgExtreme
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


FURTHER: dict[str, Callable[[Graph, Node], Further]] = {
    "arg_extreme": _arg_extreme,
}
"""By the operator's name."""
