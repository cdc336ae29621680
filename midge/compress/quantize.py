"""Post-training quantisation: a float graph and ranges of its values become integers (docs/quantization.md)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

import numpy as np

from midge.compress.groups import fixed_quantization, group_ranges
from midge.compress.ranges import Range
from midge.compress.rounding import Moments, round_weights
from midge.compress.statistics import flat_weights, unflat_weights
from midge.errors import ModelError, UnsupportedError
from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.base import Rounding
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.dequantize import Dequantize
from midge.ops.fully_connected import FullyConnected
from midge.ops.quantize import Quantize
from midge.ops.transposed_conv2d import TransposedConv2D

WEIGHTED_AXES = {Conv2D: 0, DepthwiseConv2D: 3, FullyConnected: 0, TransposedConv2D: 0}
"""The axis of output channels of an operator's weights."""
MOST_BIAS = {DType.INT8: 1 << 28, DType.INT16: 1 << 44}
"""Accumulators have 32 bits beside activations of int8, 48 beside those of int16."""
SMALLEST_SCALE = 1e-9
_INTEGERS = (DType.INT8, DType.INT16)


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """`activations`: int8 or int16; `wide_nodes`: layers with int16 on all sides in an int8 graph. `ports`: type of the
    graph's inputs and outputs, int8, int16 or float32. `float_nodes`: layers that stay float32.

    `adaptive_rounding`: weights are rounded for small errors of the layer's results; `bias_correction`: biases take up
    the mean error that is left. Both need moments of the layers' inputs.
    """

    per_channel: bool = True
    adaptive_rounding: bool = False
    bias_correction: bool = False
    ports: DType = DType.INT8
    float_nodes: Set[str] = field(default_factory=frozenset)
    activations: DType = DType.INT8
    wide_nodes: Set[str] = field(default_factory=frozenset)


def scale_for(range_: Range, dtype: DType) -> Quantization:
    """Scale and zero point for a range: real 0 is an integer, and the range's ends are reached; int16 is symmetric."""
    low, high = min(range_.low, 0.0), max(range_.high, 0.0)
    if dtype is DType.INT16:
        return Quantization((float(np.float32(max(-low, high, SMALLEST_SCALE) / 32767)),), (0,), None)
    scale = float(np.float32(max((high - low) / 255, SMALLEST_SCALE)))
    zero_point = int(np.clip(round(-128 - low / scale), -128, 127))
    return Quantization((scale,), (zero_point,), None)


def quantize_graph(graph: Graph, found: Mapping[str, Range], options: QuantizeOptions,
                   moments: Mapping[str, Moments] | None = None) -> Graph:  # fmt: skip
    """A graph of integers; layers without an integer form, and those named in the options, stay float32 between
    conversions.

    Values keep their names, so that results can be compared one by one. Raises UnsupportedError where the graph has no
    float values to quantise.
    """
    if not found or not any(graph.type(name).dtype.is_float for name in graph.inputs):
        raise UnsupportedError(graph.name, "no float32 input", "a float model", "It seems to be quantised already")
    if graph.states:
        raise UnsupportedError(graph.name, "values that live from one inference to the next", "a network without them",
                               "Quantise it where it was trained")  # fmt: skip
    return _Quantizer(graph, group_ranges(graph, found), options, moments or {}).run()


class _Quantizer:
    """The graph that is being made, and for each value of the float graph its int8, int16 and float forms."""

    def __init__(self, graph: Graph, found: Mapping[str, Range], options: QuantizeOptions,
                 moments: Mapping[str, Moments]) -> None:  # fmt: skip
        self.graph = graph
        self.moments = moments
        self.options = options
        self.builder = GraphBuilder(graph.name)
        self.quantizations = {
            dtype: {name: scale_for(range_, dtype) for name, range_ in found.items()} for dtype in _INTEGERS
        }
        self.integers: dict[DType, dict[str, str]] = {dtype: {} for dtype in _INTEGERS}
        self.reals: dict[str, str] = {}

    def run(self) -> Graph:
        for name in self.graph.inputs:
            self._add_input(name)
        for node in self.graph.nodes:
            dtype = DType.INT16 if node.name in self.options.wide_nodes else self.options.activations
            if node.name in self.options.float_nodes or not self._add_integer(node, dtype):
                self._add_float(node)
        for name in self.graph.outputs:
            is_float = self.options.ports.is_float or name not in self.quantizations[DType.INT8]
            self.builder.outputs.append(self._real(name) if is_float else self._integer(name, self.options.ports))
        return self.builder.build()

    def _add_input(self, name: str) -> None:
        type_ = self.graph.type(name)
        dtype = self.options.ports
        if dtype.is_float or name not in self.quantizations[dtype]:
            self.reals[name] = self.builder.value(name, type_)
        else:
            integers = replace(type_, dtype=dtype, quantization=self.quantizations[dtype][name])
            self.integers[dtype][name] = self.builder.value(name, integers)
        self.builder.inputs.append(name)

    def _integer(self, name: str, dtype: DType) -> str:
        """The integer form of a value, converted from another form where it has none yet."""
        known = self.integers[dtype]
        if name not in known:
            value = self.graph.values[name]
            if value.data is not None:
                known[name] = self._constant(name, value.data, dtype)
            else:
                other = DType.INT8 if dtype is DType.INT16 else DType.INT16
                source = self.integers[other][name] if name in self.integers[other] else self.reals[name]
                type_ = TensorType(dtype, value.type.shape, self.quantizations[dtype][name])
                made = self.builder.value(self.builder.unique(name), type_)
                self.builder.node(Quantize(), [source], [made], name=f"quantize_{made}")
                known[name] = made
        return known[name]

    def _constant(self, name: str, data: np.ndarray, dtype: DType) -> str:
        """A constant operand of element-wise arithmetic, in a scale of its own."""
        quantization = scale_for(Range(float(data.min(initial=0.0)), float(data.max(initial=0.0))), dtype)
        integers = np.clip(np.rint(data / quantization.scale) + quantization.zero_point, *dtype.limits)
        type_ = TensorType(dtype, data.shape, quantization)
        return self.builder.value(self.builder.unique(name), type_, integers.astype(dtype.numpy))

    def _real(self, name: str) -> str:
        """The float32 form of a value."""
        if name not in self.reals:
            value = self.graph.values[name]
            if value.data is not None:
                self.reals[name] = self.builder.value(self.builder.unique(name), value.type, value.data)
            else:
                made = self.builder.value(self.builder.unique(f"{name}_real"), value.type)
                wide = self.integers[DType.INT16]
                source = wide[name] if name in wide else self.integers[DType.INT8][name]
                self.builder.node(Dequantize(), [source], [made], name=f"dequantize_{made}")
                self.reals[name] = made
        return self.reals[name]

    def _add_float(self, node: Node) -> None:
        operands = [None if name is None else self._real(name) for name in node.inputs]
        results = []
        for name in node.outputs:
            self.reals[name] = self.builder.value(self.builder.unique(name), self.graph.type(name))
            results.append(self.reals[name])
        self.builder.node(node.op, operands, results, name=node.name)

    def _add_integer(self, node: Node, dtype: DType) -> bool:
        """Add the form of a node with activations of `dtype`; False where it has none."""
        name = node.outputs[0]
        if len(node.outputs) != 1 or name not in self.quantizations[dtype]:
            return False
        if type(node.op) in WEIGHTED_AXES:
            return self._add_weighted(node, dtype)
        activations = [operand for operand in node.inputs if operand is not None]
        if not all(self.graph.type(operand).dtype.is_float for operand in activations):
            return False
        fixed = fixed_quantization(node, dtype)
        made_type = TensorType(dtype, self.graph.type(name).shape, fixed or self.quantizations[dtype][name])
        types = [self._integer_type(operand, dtype) for operand in activations]
        if None in types:
            return False
        try:
            node.op.check(types, [made_type])
        except ModelError:
            return False
        operands = [self._integer(operand, dtype) for operand in activations]
        self._finish(node, operands, made_type)
        return True

    def _integer_type(self, name: str, dtype: DType) -> TensorType | None:
        value = self.graph.values[name]
        if value.data is not None:
            return self.builder.values[self._integer(name, dtype)].type
        quantization = self.quantizations[dtype].get(name)
        return None if quantization is None else TensorType(dtype, value.type.shape, quantization)

    def _finish(self, node: Node, operands: list[str | None] | list[str], made_type: TensorType) -> None:
        """The node, and a change of scale where its own is not the one that its readers share."""
        name, quantizations = node.outputs[0], self.quantizations[made_type.dtype]
        wanted = quantizations[name]
        made = self.builder.value(self.builder.unique(name), made_type)
        self.builder.node(node.op, list(operands), [made], name=node.name)
        if made_type.quantization != wanted:
            shared = self.builder.value(self.builder.unique(f"{name}_shared"), replace(made_type, quantization=wanted))
            if self.graph.consumers(name):
                self.builder.node(Quantize(), [made], [shared], name=f"quantize_{shared}")
                made = shared
            else:
                del self.builder.values[shared]
                quantizations[name] = made_type.quantization or wanted
        self.integers[made_type.dtype][name] = made

    def _add_weighted(self, node: Node, dtype: DType) -> bool:
        """A layer with weights: int8 weights with symmetric scales, a bias in the scale of the accumulators."""
        x, weights_name = (name or "" for name in node.inputs[:2])
        weights = self.graph.constant(weights_name)
        if weights is None or weights.dtype != np.float32 or x not in self.quantizations[dtype]:
            return False
        bias_name = node.inputs[2] if len(node.inputs) > 2 else None
        bias = self.graph.constant(bias_name)
        if bias_name is not None and bias is None:
            return False
        axis = WEIGHTED_AXES[type(node.op)]
        operand = self._integer(x, dtype)
        x_scale = self.builder.values[operand].type.quantization
        assert x_scale is not None
        most = x_scale.scale * MOST_BIAS[dtype]
        scales = weight_scales(weights, bias, axis, most, per_channel=self.options.per_channel)
        quantization = Quantization(tuple(float(scale) for scale in scales), (0,) * len(scales),
                                    axis if len(scales) > 1 else None)  # fmt: skip
        integers = self._rounded(node, weights, scales)
        bias = self._corrected(node, weights, integers, scales, bias)
        type_ = TensorType(DType.INT8, weights.shape, quantization)
        constant = self.builder.value(self.builder.unique(weights_name), type_, integers)
        names: list[str | None] = [operand, constant]
        accumulator_scales = x_scale.scale * scales.astype(np.float64)
        names.append(
            self._bias(bias_name or f"{weights_name}_bias", bias, accumulator_scales, weights.shape[axis], dtype)
        )
        name = node.outputs[0]
        made_type = TensorType(dtype, self.graph.type(name).shape, self.quantizations[dtype][name])
        self._finish(_rounding_as(node, dtype), names, made_type)
        return True

    def _rounded(self, node: Node, weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """int8 weights, rounded to the nearest or as the moments of the layer's inputs advise."""
        flat = flat_weights(node, weights)
        known = self.moments.get(node.name)
        each = np.broadcast_to(scales, (len(flat),)).astype(np.float64)
        if not self.options.adaptive_rounding or known is None or known.second is None:
            rounded = np.clip(np.rint(flat / each[:, None].astype(np.float32)), -127, 127).astype(np.int8)
        elif len(known.second) == 1:
            rounded = round_weights(flat, each, known.second[0])
        else:
            rows = [round_weights(flat[k : k + 1], each[k : k + 1], second) for k, second in enumerate(known.second)]
            rounded = np.concatenate(rows)
        return np.ascontiguousarray(unflat_weights(node, rounded, weights.shape))

    def _corrected(self, node: Node, weights: np.ndarray, integers: np.ndarray, scales: np.ndarray,
                   bias: np.ndarray | None) -> np.ndarray | None:  # fmt: skip
        """The bias with the mean of what rounding the weights takes away from the results."""
        known = self.moments.get(node.name)
        if not self.options.bias_correction or known is None:
            return bias
        flat, rounded = flat_weights(node, weights), flat_weights(node, integers).astype(np.float64)
        lost = flat - rounded * np.broadcast_to(scales, (len(flat),))[:, None]
        mean = np.broadcast_to(known.mean, lost.shape)
        correction = (lost * mean).sum(axis=1)
        return (correction if bias is None else bias + correction).astype(np.float32)

    def _bias(self, name: str, bias: np.ndarray | None, scales: np.ndarray, outputs: int, dtype: DType) -> str | None:
        if bias is None:
            return None
        wide = DType.INT64 if dtype is DType.INT16 else DType.INT32
        integers = np.rint(bias.astype(np.float64) / np.broadcast_to(scales, (outputs,))).astype(wide.numpy)
        return self.builder.value(self.builder.unique(name), TensorType(wide, (outputs,)), integers)


def _rounding_as(node: Node, dtype: DType) -> Node:
    """The node with the rounding that layers of int16 with biases of int64 have."""
    op = node.op
    if dtype is DType.INT8 or not isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected):
        return node
    return replace(node, op=replace(op, rounding=Rounding.REDUCED)) if op.rounding is Rounding.DOUBLE else node


def weight_scales(weights: np.ndarray, bias: np.ndarray | None, axis: int, most_bias: float, *, per_channel: bool
                  ) -> np.ndarray:  # fmt: skip
    """float32 scales, one for each output channel or one for all: the largest weight is 127.

    Scales do not fall so low that a bias would be more than `most_bias` of them.
    """
    flat = np.abs(np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)).max(axis=1).astype(np.float64)
    scales = flat / 127
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias.astype(np.float64)) / most_bias)
    scales = np.maximum(scales, SMALLEST_SCALE)
    return (scales if per_channel else scales.max(keepdims=True)).astype(np.float32)
