"""Interval analysis: between which integers every channel of every value lies, whatever the input.

Sound by construction: integer inputs have the whole range of their type, accumulators are bounded from the weights,
and bounds go through the operators' own references, which never decrease. What has no rule here, or might leave
32 bits, gets the whole range of its type. Float values have no bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Op, Padding, Rounding, Types, quantized_bounds
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.copy import Copy
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fixed_point import INT32_MAX, INT32_MIN
from midge.ops.fully_connected import FullyConnected
from midge.ops.leaky_relu import LeakyRelu
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
from midge.passes.weighted import Weighted, weighted_of


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Smallest and largest integer of each channel: int64 arrays [channels]."""

    low: np.ndarray
    high: np.ndarray

    @property
    def is_constant(self) -> np.ndarray:
        """For each channel: has it one value only, at every position and for every input?"""
        return self.low == self.high


Intervals = Mapping[str, Interval]


def intervals_of(graph: Graph) -> dict[str, Interval]:
    """The bounds of every integer value by name, constants included."""
    found: dict[str, Interval] = {}
    for value in graph.constants():
        if value.data is not None and not value.type.dtype.is_float:
            found[value.name] = _spanned(value.data, value.data, value.type.channels)
    for name in graph.sources:
        if not graph.type(name).dtype.is_float:
            found[name] = whole_range(graph.type(name))
    for node in graph.nodes:
        for name in node.outputs:
            if not graph.type(name).dtype.is_float:
                several = len(node.outputs) > 1
                found[name] = whole_range(graph.type(name)) if several else _result(graph, node, found)
    return found


def whole_range(type_: TensorType) -> Interval:
    """All that the element type can hold."""
    low, high = (0, 1) if type_.dtype is DType.BOOL else type_.dtype.limits
    return Interval(np.full(type_.channels, low, np.int64), np.full(type_.channels, high, np.int64))


def accumulator_bounds(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    """Bounds of the accumulators of a convolution or fully connected layer, bias included.

    They are those of the sums as integers, which may lie outside 32 bits. None where weights or bias are not
    constant, or the layer is float.
    """
    view, x = weighted_of(graph, node), node.inputs[0] or ""
    if view is None or x not in intervals or graph.type(node.outputs[0]).dtype.is_float:
        return None
    return _accumulators(view, feature_bounds(graph, node, intervals[x], view), graph.type(x).zero_point)


def feature_bounds(graph: Graph, node: Node, x: Interval, view: Weighted) -> Interval:
    """Bounds of each input of the weights: a fully connected layer may flatten pixels into features."""
    shape = graph.type(node.inputs[0] or "").shape
    if x.low.size == view.inputs:
        return x
    return _spanned(np.broadcast_to(x.low, shape), np.broadcast_to(x.high, shape), view.inputs)


def unclamped_bounds(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    """Bounds of a node's results before its clamp (activation and integer limits); None: not known."""
    rule = _BEFORE_CLAMP.get(type(node.op))
    known = all(name is None or name in intervals for name in node.inputs)
    return rule(graph, node, intervals) if rule is not None and known else None


def clamp_acts(graph: Graph, node: Node, intervals: Intervals) -> tuple[np.ndarray, np.ndarray] | None:
    """For each channel: can the lower, can the upper bound of the node's clamp change a result? None: not known."""
    unclamped = unclamped_bounds(graph, node, intervals)
    if unclamped is None:
        return None
    low, high = _clamp_of(graph, node)
    return unclamped.low < low, unclamped.high > high


def _result(graph: Graph, node: Node, intervals: Intervals) -> Interval:
    """Bounds of the result of a node that has one."""
    unclamped = unclamped_bounds(graph, node, intervals)
    if unclamped is not None:
        low, high = _clamp_of(graph, node)
        return Interval(np.clip(unclamped.low, low, high), np.clip(unclamped.high, low, high))
    rule = _WHOLE.get(type(node.op))
    known = all(name is not None and name in intervals for name in node.inputs)
    bounds = rule(graph, node, intervals) if rule is not None and known else None
    return bounds if bounds is not None else whole_range(graph.type(node.outputs[0]))


def _clamp_of(graph: Graph, node: Node) -> tuple[int, int]:
    return quantized_bounds(getattr(node.op, "activation", Activation.NONE), graph.type(node.outputs[0]))


def _spanned(low: np.ndarray, high: np.ndarray, channels: int) -> Interval:
    """The bounds of each channel over all positions of two arrays, their last axis cut to `channels`."""
    return Interval(low.reshape(-1, channels).min(axis=0).astype(np.int64),
                    high.reshape(-1, channels).max(axis=0).astype(np.int64))  # fmt: skip


# Convolutions and fully connected layers


def _accumulators(view: Weighted, features: Interval, zero_point: int) -> Interval:
    low = (features.low - zero_point).reshape(view.groups, 1, 1, 1, -1)
    high = (features.high - zero_point).reshape(view.groups, 1, 1, 1, -1)
    positive, negative = np.maximum(view.weights, 0), np.minimum(view.weights, 0)
    least = view.border_sums(view.by_tap((positive * low + negative * high).sum(axis=-1)))
    most = view.border_sums(view.by_tap((positive * high + negative * low).sum(axis=-1)))
    return Interval((least.min(axis=(0, 1)) + view.bias).astype(np.int64),
                    (most.max(axis=(0, 1)) + view.bias).astype(np.int64))  # fmt: skip


def _weighted(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    acc = accumulator_bounds(graph, node, intervals)
    if acc is None:
        return None
    limits = _accumulator_limits(graph, node)
    if (acc.low < limits.low).any() or (acc.high > limits.high).any():
        return None
    return Interval(_requantized(graph, node, acc.low), _requantized(graph, node, acc.high))


def _accumulator_limits(graph: Graph, node: Node) -> Interval:
    """Between these accumulators, nothing leaves 32 bits: neither the sum nor, where it is shifted left, that.

    With REDUCED rounding the sums have 48 bits.
    """
    op, (x, weights, _), (output,) = node.op, graph.input_types(node), graph.output_types(node)
    assert isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected) and x is not None and weights is not None
    left = np.zeros(output.channels, np.int64)
    if op.rounding is Rounding.REDUCED:
        return Interval(left - (1 << 47), left + (1 << 47))
    if op.rounding is Rounding.DOUBLE:
        left = np.maximum(op.requantization(x, weights, output)[1].astype(np.int64), 0)
    return Interval(INT32_MIN >> left, INT32_MAX >> left)


def _requantized(graph: Graph, node: Node, acc: np.ndarray) -> np.ndarray:
    """Results of these accumulators before the clamp: the layer's own reference on zeros, with them as its bias."""
    op, (x, weights, _), (output,) = node.op, graph.input_types(node), graph.output_types(node)
    assert isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected) and x is not None and weights is not None
    channels = acc.size
    if isinstance(op, FullyConnected):
        x_shape, w_shape, y_shape = (1, 1), (channels, 1), (1, channels)
    else:
        y_shape = (1, 1, 1, channels)
        depthwise = isinstance(op, DepthwiseConv2D)
        x_shape, w_shape = ((1, 1, 1, x.channels), y_shape) if depthwise else ((1, 1, 1, 1), (channels, 1, 1, 1))
    x_type, w_type = replace(x, shape=x_shape), replace(weights, shape=w_shape)
    zeros = np.full(x_shape, x.zero_point, x.dtype.numpy), np.zeros(w_shape, weights.dtype.numpy)
    b_type = TensorType(DType.INT64 if op.rounding is Rounding.REDUCED else DType.INT32, (channels,))
    arrays = [*zeros, acc.astype(b_type.dtype.numpy)]
    return _unclamped(_plain(op), arrays, [x_type, w_type, b_type], replace(output, shape=y_shape))


def _plain(op: Op) -> Op:
    """A window operator without stride, dilation and padding."""
    if not isinstance(op, Conv2D | DepthwiseConv2D):
        return op
    return replace(op, stride_h=1, stride_w=1, dilation_h=1, dilation_w=1, padding=Padding(0, 0, 0, 0))


def _unclamped(op: Op, arrays: Sequence[np.ndarray | None], types: Types, output: TensorType) -> np.ndarray:
    """Results of an operator's reference as int64, with a clamp at 32 bits only."""
    free: Op = replace(op, activation=Activation.NONE)  # type: ignore[call-arg]
    (result,) = free.evaluate(arrays, types, [replace(output, dtype=DType.INT32)])
    return result.astype(np.int64).ravel()


# Element by element


def _sum(graph: Graph, node: Node, intervals: Intervals) -> Interval:
    """Addition never decreases in either operand; subtraction never increases in its second."""
    a, b = (intervals[name or ""] for name in node.inputs)
    if isinstance(node.op, Sub):
        b = Interval(b.high, b.low)
    return Interval(_pair(graph, node, a.low, b.low), _pair(graph, node, a.high, b.high))


def _product(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    """A product's extremes lie at the corners, whatever the signs."""
    a, b = (intervals[name or ""] for name in node.inputs)
    a_type, b_type = graph.input_types(node)
    assert isinstance(node.op, Mul) and a_type is not None and b_type is not None
    _, shift = node.op.requantization(a_type, b_type, graph.type(node.outputs[0]))
    if shift > (14 if a_type.dtype is DType.INT8 else 0):  # a product might leave 32 bits when shifted left
        return None
    corners = [_pair(graph, node, left, right) for left in (a.low, a.high) for right in (b.low, b.high)]
    return Interval(np.min(corners, axis=0), np.max(corners, axis=0))


def _pair(graph: Graph, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The operator's reference on one value for each channel of both operands (a single channel is broadcast)."""
    (a_type, b_type), output = graph.input_types(node), graph.type(node.outputs[0])
    assert a_type is not None and b_type is not None
    arrays: list[np.ndarray | None] = [a.astype(a_type.dtype.numpy), b.astype(b_type.dtype.numpy)]
    types: list[TensorType | None] = [replace(a_type, shape=a.shape), replace(b_type, shape=b.shape)]
    return _unclamped(node.op, arrays, types, replace(output, shape=(output.channels,)))


def _tabulated(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    """A function of single values: its results for all of the type's values, and their extremes in each interval."""
    x_type, y_type = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
    if x_type.dtype.bytes > 2:  # too many values to try them all
        return None
    lowest, highest = x_type.dtype.limits
    every = np.arange(lowest, highest + 1).astype(x_type.dtype.numpy)
    types = [replace(type_, shape=every.shape) for type_ in (x_type, y_type)]
    table = node.op.evaluate([every], types[:1], types[1:])[0].astype(np.int64)
    x = intervals[node.inputs[0] or ""]
    bounds = np.stack([x.low, x.high + 1], axis=1) - lowest
    parts, which = np.unique(bounds, axis=0, return_inverse=True)
    which = which.ravel()
    lows = np.array([table[start:end].min() for start, end in parts])
    highs = np.array([table[start:end].max() for start, end in parts])
    return Interval(lows[which], highs[which])


# Pools and moving data


def _through_reference(graph: Graph, node: Node, intervals: Intervals) -> Interval:
    """Operators that never decrease in any operand: their references on images of lower and of upper bounds."""
    output = graph.type(node.outputs[0])
    ends = []
    for end in ("low", "high"):
        arrays: list[np.ndarray | None] = [
            np.broadcast_to(getattr(intervals[name or ""], end), type_.shape).astype(type_.dtype.numpy)
            for name, type_ in zip(node.inputs, graph.input_types(node), strict=True) if type_ is not None
        ]  # fmt: skip
        ends.append(node.op.evaluate(arrays, graph.input_types(node), [output])[0])
    return _spanned(ends[0], ends[1], output.channels)


def _mean(graph: Graph, node: Node, intervals: Intervals) -> Interval | None:
    x, output = graph.type(node.inputs[0] or ""), graph.type(node.outputs[0])
    assert isinstance(node.op, Mean)
    _, shift = node.op.requantization(x, output)
    if (x.elements << 8 * x.dtype.bytes) << max(shift, 0) > INT32_MAX:
        return None
    return _through_reference(graph, node, intervals)


Rule = Callable[[Graph, Node, Intervals], Interval | None]
_BEFORE_CLAMP: Mapping[type[Op], Rule] = {
    Conv2D: _weighted, DepthwiseConv2D: _weighted, FullyConnected: _weighted, Add: _sum, Sub: _sum, Mul: _product,
}  # fmt: skip
"""Rules for the results before the clamp."""

_WHOLE: Mapping[type[Op], Rule] = {
    Relu: _tabulated, LeakyRelu: _tabulated, Logistic: _tabulated, Tanh: _tabulated, Quantize: _tabulated,
    MaxPool2D: _through_reference, AveragePool2D: _through_reference, Mean: _mean,
    Reshape: _through_reference, Pad: _through_reference, Copy: _through_reference,
    Concatenation: _through_reference,
}  # fmt: skip
"""Rules for the results after it."""
