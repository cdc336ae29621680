"""Weights of 16 bits that span no more than a byte can say: stored as bytes, an offset is added when they are read.

They stand for 8-bit weights with a zero point, which do not fit into int8 when it is taken off.
"""

from __future__ import annotations

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType

_LEAST, _MOST = -127, 128
"""Offsets whose negative, which stands for a weight of 0, is a byte too."""


def refuse_weights(node: Node, graph: Graph, dtype: DType) -> str | None:
    """Why a kernel whose weights are of `dtype`, and constant, does not take a node's."""
    found = graph.type(node.inputs[1] or "").dtype
    if found is not dtype:
        return f"weights of type {found.value}"
    weights = graph.constant(node.inputs[1])
    if weights is None:
        return "the weights are not constant"
    if dtype is DType.INT16:
        offset, (low, high) = _offset(weights), DType.INT8.limits
        if int(weights.min()) - offset < low or int(weights.max()) - offset > high:
            return "weights that lie too far apart for bytes"
    return None


def _offset(weights: np.ndarray) -> int:
    return min(max(int(weights.min()) - DType.INT8.limits[0], _LEAST), _MOST)


def as_bytes(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """int8 weights, and what has to be added to each; int8 ones as they are."""
    if weights.dtype == np.int8:
        return weights, 0
    offset = _offset(weights)
    return (weights.astype(np.int32) - offset).astype(np.int8), offset


def read(element: str, offset: int) -> str:
    """The C expression of a weight, from that of a stored one."""
    return element if offset == 0 else f"({element} {'+' if offset > 0 else '-'} {abs(offset)})"


def widened(bytes_: str, offset: int) -> tuple[str, str]:
    """C expressions of the even and the odd weights of a word of four, as pairs of halves (Armv7E-M)."""
    if offset == 0:
        return f"midge_even_bytes({bytes_})", f"midge_odd_bytes({bytes_})"
    pair = f"0x{(offset & 0xFFFF) * 0x10001:08x}u"
    return f"midge_add_even_bytes({pair}, {bytes_})", f"midge_add_odd_bytes({pair}, {bytes_})"


def key(offset: int) -> str:
    """What a function that adds an offset depends on, in its name."""
    return "" if offset == 0 else f"_o{offset}".replace("-", "n")
