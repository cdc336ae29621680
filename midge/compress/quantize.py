"""Post-training quantisation: a float graph and ranges of its values become an int8 graph (docs/quantization.md)."""

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
from midge.ops.conv2d import Conv2D
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.dequantize import Dequantize
from midge.ops.fully_connected import FullyConnected
from midge.ops.quantize import Quantize
from midge.ops.transposed_conv2d import TransposedConv2D

_WEIGHTED_AXES = {Conv2D: 0, DepthwiseConv2D: 3, FullyConnected: 0, TransposedConv2D: 0}
"""The axis of output channels of an operator's weights."""
_MOST_BIAS = 1 << 28
_SMALLEST_SCALE = 1e-9


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """`ports`: type of the graph's inputs and outputs, int8 or float32. `float_nodes`: layers that stay float32.

    `adaptive_rounding`: weights are rounded for small errors of the layer's results; `bias_correction`: biases take up
    the mean error that is left. Both need moments of the layers' inputs.
    """

    per_channel: bool = True
    adaptive_rounding: bool = False
    bias_correction: bool = False
    ports: DType = DType.INT8
    float_nodes: Set[str] = field(default_factory=frozenset)


def scale_for(range_: Range) -> Quantization:
    """Scale and zero point of int8 for a range: real 0 is an integer, and the range's ends are reached."""
    low, high = min(range_.low, 0.0), max(range_.high, 0.0)
    scale = float(np.float32(max((high - low) / 255, _SMALLEST_SCALE)))
    zero_point = int(np.clip(round(-128 - low / scale), -128, 127))
    return Quantization((scale,), (zero_point,), None)


def quantize_graph(graph: Graph, found: Mapping[str, Range], options: QuantizeOptions,
                   moments: Mapping[str, Moments] | None = None) -> Graph:  # fmt: skip
    """An int8 graph; layers without an int8 form, and those named in the options, stay float32 between conversions.

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
    """The graph that is being made, and for each value of the float graph its integer and its float form."""

    def __init__(self, graph: Graph, found: Mapping[str, Range], options: QuantizeOptions,
                 moments: Mapping[str, Moments]) -> None:  # fmt: skip
        self.graph = graph
        self.moments = moments
        self.options = options
        self.builder = GraphBuilder(graph.name)
        self.quantizations = {name: scale_for(range_) for name, range_ in found.items()}
        self.integers: dict[str, str] = {}
        self.reals: dict[str, str] = {}

    def run(self) -> Graph:
        for name in self.graph.inputs:
            self._add_input(name)
        for node in self.graph.nodes:
            if node.name in self.options.float_nodes or not self._add_integer(node):
                self._add_float(node)
        for name in self.graph.outputs:
            is_float = self.options.ports.is_float or name not in self.quantizations
            self.builder.outputs.append(self._real(name) if is_float else self._integer(name))
        return self.builder.build()

    def _add_input(self, name: str) -> None:
        type_ = self.graph.type(name)
        quantization = self.quantizations.get(name)
        if quantization is None or self.options.ports.is_float:
            self.reals[name] = self.builder.value(name, type_)
            self.builder.inputs.append(name)
            return
        self.integers[name] = self.builder.value(name, replace(type_, dtype=DType.INT8, quantization=quantization))
        self.builder.inputs.append(name)

    def _integer(self, name: str) -> str:
        """The int8 form of a value, converted where it has none yet."""
        if name not in self.integers:
            value = self.graph.values[name]
            if value.data is not None:
                self.integers[name] = self._constant(name, value.data)
            else:
                type_ = TensorType(DType.INT8, value.type.shape, self.quantizations[name])
                made = self.builder.value(self.builder.unique(name), type_)
                self.builder.node(Quantize(), [self.reals[name]], [made], name=f"quantize_{made}")
                self.integers[name] = made
        return self.integers[name]

    def _constant(self, name: str, data: np.ndarray) -> str:
        """A constant operand of element-wise arithmetic, in a scale of its own."""
        quantization = scale_for(Range(float(data.min(initial=0.0)), float(data.max(initial=0.0))))
        integers = np.clip(np.rint(data / quantization.scale) + quantization.zero_point, -128, 127).astype(np.int8)
        type_ = TensorType(DType.INT8, data.shape, quantization)
        return self.builder.value(self.builder.unique(name), type_, integers)

    def _real(self, name: str) -> str:
        """The float32 form of a value."""
        if name not in self.reals:
            value = self.graph.values[name]
            if value.data is not None:
                self.reals[name] = self.builder.value(self.builder.unique(name), value.type, value.data)
            else:
                made = self.builder.value(self.builder.unique(f"{name}_real"), value.type)
                self.builder.node(Dequantize(), [self.integers[name]], [made], name=f"dequantize_{made}")
                self.reals[name] = made
        return self.reals[name]

    def _add_float(self, node: Node) -> None:
        operands = [None if name is None else self._real(name) for name in node.inputs]
        results = []
        for name in node.outputs:
            self.reals[name] = self.builder.value(self.builder.unique(name), self.graph.type(name))
            results.append(self.reals[name])
        self.builder.node(node.op, operands, results, name=node.name)

    def _add_integer(self, node: Node) -> bool:
        """Add the int8 form of a node; False where it has none."""
        name = node.outputs[0]
        if len(node.outputs) != 1 or name not in self.quantizations:
            return False
        if type(node.op) in _WEIGHTED_AXES:
            return self._add_weighted(node)
        activations = [operand for operand in node.inputs if operand is not None]
        if not all(self.graph.type(operand).dtype.is_float for operand in activations):
            return False
        fixed = fixed_quantization(node)
        made_type = TensorType(DType.INT8, self.graph.type(name).shape, fixed or self.quantizations[name])
        types = [self._integer_type(operand) for operand in activations]
        if None in types:
            return False
        try:
            node.op.check(types, [made_type])
        except ModelError:
            return False
        operands = [self._integer(operand) for operand in activations]
        self._finish(node, operands, made_type)
        return True

    def _integer_type(self, name: str) -> TensorType | None:
        value = self.graph.values[name]
        if value.data is not None:
            return self.builder.values[self._integer(name)].type
        quantization = self.quantizations.get(name)
        return None if quantization is None else TensorType(DType.INT8, value.type.shape, quantization)

    def _finish(self, node: Node, operands: list[str | None] | list[str], made_type: TensorType) -> None:
        """The node, and a change of scale where its own is not the one that its readers share."""
        name = node.outputs[0]
        wanted = self.quantizations[name]
        made = self.builder.value(self.builder.unique(name), made_type)
        self.builder.node(node.op, list(operands), [made], name=node.name)
        if made_type.quantization != wanted:
            shared = self.builder.value(self.builder.unique(f"{name}_shared"), replace(made_type, quantization=wanted))
            if self.graph.consumers(name):
                self.builder.node(Quantize(), [made], [shared], name=f"quantize_{shared}")
                made = shared
            else:
                del self.builder.values[shared]
                self.quantizations[name] = made_type.quantization or wanted
        self.integers[name] = made

    def _add_weighted(self, node: Node) -> bool:
        """A layer with weights: int8 weights with symmetric scales, an int32 bias in the scale of the accumulators."""
        x, weights_name = (name or "" for name in node.inputs[:2])
        weights = self.graph.constant(weights_name)
        if weights is None or weights.dtype != np.float32 or x not in self.quantizations:
            return False
        bias_name = node.inputs[2] if len(node.inputs) > 2 else None
        bias = self.graph.constant(bias_name)
        if bias_name is not None and bias is None:
            return False
        axis = _WEIGHTED_AXES[type(node.op)]
        operand = self._integer(x)
        x_scale = self.builder.values[operand].type.quantization
        assert x_scale is not None
        scales = weight_scales(weights, bias, axis, x_scale.scale, per_channel=self.options.per_channel)
        quantization = Quantization(tuple(float(scale) for scale in scales), (0,) * len(scales),
                                    axis if len(scales) > 1 else None)  # fmt: skip
        integers = self._rounded(node, weights, scales)
        bias = self._corrected(node, weights, integers, scales, bias)
        type_ = TensorType(DType.INT8, weights.shape, quantization)
        constant = self.builder.value(self.builder.unique(weights_name), type_, integers)
        names: list[str | None] = [operand, constant]
        accumulator_scales = x_scale.scale * scales.astype(np.float64)
        names.append(self._bias(bias_name or f"{weights_name}_bias", bias, accumulator_scales, weights.shape[axis]))
        name = node.outputs[0]
        made_type = TensorType(DType.INT8, self.graph.type(name).shape, self.quantizations[name])
        self._finish(node, names, made_type)
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

    def _bias(self, name: str, bias: np.ndarray | None, scales: np.ndarray, outputs: int) -> str | None:
        if bias is None:
            return None
        integers = np.rint(bias.astype(np.float64) / np.broadcast_to(scales, (outputs,))).astype(np.int32)
        return self.builder.value(self.builder.unique(name), TensorType(DType.INT32, (outputs,)), integers)


def weight_scales(weights: np.ndarray, bias: np.ndarray | None, axis: int, x_scale: float, *, per_channel: bool
                  ) -> np.ndarray:  # fmt: skip
    """float32 scales, one for each output channel or one for all: the largest weight is 127.

    Scales do not fall so low that the bias would leave 28 bits.
    """
    flat = np.abs(np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)).max(axis=1).astype(np.float64)
    scales = flat / 127
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias.astype(np.float64)) / (x_scale * _MOST_BIAS))
    scales = np.maximum(scales, _SMALLEST_SCALE)
    return (scales if per_channel else scales.max(keepdims=True)).astype(np.float32)
