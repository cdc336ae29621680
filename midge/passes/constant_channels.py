"""What a layer's constant input channels add to its accumulators, and where a bias can say the same.

A channel of value v adds `weight * (v - zero point)` for each tap inside the input, and nothing for taps in the
padding. So it is a constant only where the sum is the same for every kind of output position: without padding, at the
zero point, or where the weights of the outer taps cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ops.fixed_point import INT32_MAX
from midge.passes.intervals import Intervals, feature_bounds
from midge.passes.weighted import Weighted, any_along, weighted_of


@dataclass(frozen=True, slots=True, eq=False)
class Folding:
    """For each output and input of a layer's weights, arrays [groups, outputs, inputs].

    Where `reads` is False, the input adds the constant `sums` to the output's accumulator, whatever the network reads.
    """

    reads: np.ndarray
    sums: np.ndarray
    fits: bool
    """Whether all biases stay within 32 bits; where they might not, none of that output's constants is folded."""


def folding_of(graph: Graph, node: Node, intervals: Intervals) -> Folding | None:
    """What each input adds. None where weights are no constants, or results are float (0 * infinity is no constant)."""
    view, x = weighted_of(graph, node), node.inputs[0] or ""
    if view is None or x not in intervals or graph.type(node.outputs[0]).dtype.is_float:
        return None
    features = feature_bounds(graph, node, intervals[x], view)
    inside = view.row_taps.max(axis=0)[:, None] * view.column_taps.max(axis=0)
    touched = any_along(view.weights * inside[..., None] != 0, 2, 3)
    sums, same = _border_sums(view, features.low - graph.type(x).zero_point, features.is_constant)
    foldable = features.is_constant.reshape(view.groups, 1, -1) & same
    sums = np.where(foldable, sums, 0)
    fits = np.abs(sums).sum(axis=2) + np.abs(view.bias).reshape(view.groups, -1) <= INT32_MAX
    foldable &= fits[..., None]
    return Folding(touched & ~foldable, np.where(foldable, sums, 0).astype(np.int64), bool(fits.all()))


def refuse(graph: Graph, node: Node, folding: Folding | None, channel: int) -> str | None:
    """None where a constant channel of the node's first operand may go into its bias; else the reason why not."""
    if folding is None:
        return f"{node.name} ({node.op.name}) has no bias to fold them into"
    channels = graph.type(node.inputs[0] or "").channels
    reads = any_along(folding.reads, 1).ravel()
    if not reads[np.arange(reads.size) % channels == channel % reads.size].any():
        return None
    if not folding.fits:
        return f"the bias of {node.name} would leave 32 bits"
    return f"they differ from the padding at the border of {node.name}"


def _border_sums(view: Weighted, centred: np.ndarray, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums [groups, outputs, inputs] in the image's first corner, and whether all other positions have the same."""
    groups, outputs, _, _, inputs = view.weights.shape
    acting = constant & (centred != 0)
    sums, same = np.zeros((groups, outputs, inputs)), np.ones((groups, outputs, inputs), bool)
    if not acting.any():
        return sums, same
    products = view.weights * np.where(acting, centred, 0).reshape(groups, 1, 1, 1, inputs)
    by_position = view.border_sums(products.transpose(2, 3, 0, 1, 4))
    return by_position[0, 0], (by_position == by_position[0, 0]).all(axis=(0, 1))
