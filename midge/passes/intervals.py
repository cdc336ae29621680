"""Interval analysis: between which integers every channel of every value lies, whatever the input.

Sound by construction: integer inputs have the whole range of their type, accumulators are bounded from the weights,
and the bounds go through the operators' own references, which are monotone. What has no rule here, or would leave
32 bits, gets the whole range of its type. Float values have no bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, quantized_bounds
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.copy import Copy
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fixed_point import INT32_MAX, INT32_MIN
from midge.ops.fully_connected import FullyConnected
from midge.ops.logistic import Logistic
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.sub import Sub
from midge.ops.tanh import Tanh
from midge.passes.taps import Taps, taps_of


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Smallest and largest integer of each channel; int64 arrays [channels]."""

    low: np.ndarray
    high: np.ndarray

    @property
    def is_constant(self) -> np.ndarray:
        """For each channel: can it have one value only?"""
        return self.low == self.high

    def hull(self, channels: np.ndarray) -> Interval:
        """The bounds of groups of channels; `channels` [rows, groups] lists each group's members in a column."""
        return Interval(self.low[channels].min(axis=0), self.high[channels].max(axis=0))


Intervals = Mapping[str, Interval]


def intervals_of(graph: Graph) -> dict[str, Interval]:
    """The bounds of every integer value by name, constants included."""
    found: dict[str, Interval] = {}
    for value in graph.constants():
        if not value.type.dtype.is_float and value.data is not None:
            found[value.name] = _of_array(value.data, value.data)
    for name in graph.inputs:
        if not graph.type(name).dtype.is_float:
            found[name] = whole_range(graph.type(name))
    for node in graph.nodes:
        found.update(_node_intervals(graph, node, found))
    return found


def whole_range(type_: TensorType) -> Interval:
    """All that the element type can hold."""
    if type_.dtype is DType.BOOL:
        return Interval(np.zeros(type_.channels, np.int64), np.ones(type_.channels, np.int64))
    low, high = type_.dtype.limits
    return Interval(np.full(type_.channels, low, np.int64), np.full(type_.channels, high, np.int64))


def unclamped_bounds(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    """Bounds of a node's results before its clamp (activation and integer limits); None where there is no rule."""
    rule = _UNCLAMPED.get(type(node.op))
    if rule is None or any(name is not None and name not in intervals for name in node.inputs):
        return None
    return rule(graph, node, intervals)


def clamp_acts(graph: Graph, node: Node, intervals: Intervals) -> tuple[np.ndarray, np.ndarray] | None:
    """For each channel: can the lower, can the upper bound of the node's clamp change a result? None: not known."""
    unclamped = unclamped_bounds(graph, node, intervals)
    if unclamped is None:
        return None
    low, high = quantized_bounds(_activation(node), graph.output_types(node)[0])
    return unclamped.low < low, unclamped.high > high


def accumulator_bounds(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    """Bounds of the 32-bit accumulators, bias included, of a convolution or fully connected layer with weights known.

    They may lie outside 32 bits; then the sum can wrap. None where the node has no accumulators or they are float.
    """
    taps = taps_of(graph, node)
    x = node.inputs[0] or ""
    if taps is None or x not in intervals or graph.type(x).zero_point is None:
        return None
    return _accumulators(taps, intervals[x], graph.type(x).zero_point)
