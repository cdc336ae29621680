"""A quantised graph on real values in torch, rounded wherever Midge rounds, so that gradients reach the float weights.

What is rounded follows docs/numerics.md: weights to int8 in the scales that the quantiser would give them, biases in
the accumulators' scale, results of layers to the integers of their type. Rounding has the gradient of none (the
straight-through estimator: Bengio et al., 2013). Importing this module needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from midge.compress.groups import KEEPING, group_ranges, groups
from midge.compress.quantize import MOST_BIAS, SMALLEST_SCALE, WEIGHTED_AXES, scale_for
from midge.compress.ranges import Range
from midge.compress.training.forms import FORMS, apply
from midge.errors import UnsupportedError
from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.types import DType, Quantization, TensorType
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.dequantize import Dequantize
from midge.ops.quantize import Quantize
from midge.ops.resize_bilinear import ResizeBilinear

Tensor = torch.Tensor
_MAKING = (AveragePool2D, ResizeBilinear)
"""Of the operators that keep their operand's scale, those whose results are rounded."""


def refusal(graph: Graph) -> str | None:
    """Why a graph can't be trained; None where it can."""
    lacking = sorted({f"{node.op.name} ({node.name})" for node in graph.nodes
                      if type(node.op) not in FORMS and not isinstance(node.op, Quantize | Dequantize)})  # fmt: skip
    return f"no training of {', '.join(lacking)}" if lacking else None


def rounded(x: Tensor) -> Tensor:
    """To the nearest integer, halves away from zero; the gradient is 1."""
    return x + (torch.sign(x) * torch.floor(x.abs() + 0.5) - x).detach()


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """A constant as parameter: `base` times a tensor of magnitudes round 1, so that one step size suits all."""

    base: Tensor
    start: Tensor

    def real(self, parameter: Tensor) -> Tensor:
        return parameter * self.base


def with_biases(graph: Graph, made: Graph) -> Graph:
    """The float graph with the biases of its quantised form, which correction may have changed, or added."""
    builder = GraphBuilder.of(graph)
    integers = {node.name: node for node in made.nodes}
    for position, node in enumerate(builder.nodes):
        if type(node.op) not in WEIGHTED_AXES:
            continue
        x_name, weights_name, name = integers[node.name].inputs
        if name is None or made.type(name).dtype.is_float:
            continue
        x, weights = made.type(x_name or "").quantization, made.type(weights_name or "").quantization
        data = made.constant(name)
        assert weights is not None and x is not None and data is not None
        real = (data * (x.scale * np.array(weights.scales))).astype(np.float32)
        own = builder.value(builder.unique(f"{node.name}_bias"), TensorType(DType.FLOAT32, real.shape), real)
        builder.nodes[position] = replace(node, inputs=(*node.inputs[:2], own))
    return builder.build()


class Student:
    """The forward pass of a quantised graph `made` of `graph` with these ranges.

    `parameters`: by name of a constant of the float graph, or of a group of values that share a range (its logarithm,
    relative to the range at the start).
    """

    def __init__(self, graph: Graph, made: Graph, ranges: Mapping[str, Range], *, per_channel: bool) -> None:
        problem = refusal(made)
        if problem is not None:
            raise UnsupportedError(made.name, problem, "operators that torch has forms of")
        self.graph, self.made, self.per_channel = graph, made, per_channel
        self.ranges = group_ranges(graph, ranges)
        self.groups = groups(graph)
        self.range_of = {self.groups[name]: seen for name, seen in self.ranges.items()}
        self.nodes = {node.name: node for node in graph.nodes}
        self.constants = {value.name: _real_constant(value.data, value.type)
                          for value in made.constants() if value.data is not None}  # fmt: skip
        self.scaled: dict[str, Scaled] = {}
        self._add_weights()
        self.learned = self._learned_groups()
        """By name of a value of `made`: its group, where its range is trained."""
        self.parameters = {name: scaled.start.clone().requires_grad_() for name, scaled in self.scaled.items()}
        self.parameters |= {_range_name(group): torch.zeros(()).requires_grad_()
                            for group in sorted(set(self.learned.values()))}  # fmt: skip

    def _add_weights(self) -> None:
        for node in self.graph.nodes:
            axis = WEIGHTED_AXES.get(type(node.op))
            operands = [] if axis is None else list(enumerate(node.inputs))[1:]
            for position, name in operands:
                data = self.graph.constant(name)
                if name is None or data is None or data.dtype != np.float32 or name in self.scaled:
                    continue
                if self._is_only(name, position):
                    self.scaled[name] = self._scaled(node, data, axis if position == 1 else None)

    def _is_only(self, name: str, position: int) -> bool:
        """A constant is nothing but weights, or nothing but biases."""
        return all(type(node.op) in WEIGHTED_AXES and [place for place, other in enumerate(node.inputs)
                                                       if other == name] == [position]
                   for node in self.graph.consumers(name))  # fmt: skip

    def _scaled(self, node: Node, data: np.ndarray, axis: int | None) -> Scaled:
        """Weights relative to the largest of their channel, biases to the range of the layer's results."""
        if axis is None:
            seen = self.ranges[node.outputs[0]]
            base = np.full((1,), max(seen.high - seen.low, float(np.abs(data).max()), SMALLEST_SCALE), np.float32)
        else:
            others = tuple(place for place in range(data.ndim) if place != axis)
            base = np.maximum(np.abs(data).max(axis=others, keepdims=True), np.float32(SMALLEST_SCALE))
        return Scaled(torch.tensor(base), torch.tensor(data / base))

    def _learned_groups(self) -> dict[str, int]:
        """Values of int8 whose scale follows from their group's range; those of one by definition are not trained."""
        origin: dict[str, str] = {name: name for name in self.made.inputs}
        for node in self.made.nodes:
            if node.name in self.nodes:
                origin.update(zip(node.outputs, self.nodes[node.name].outputs, strict=True))
            else:
                origin[node.outputs[0]] = origin[node.inputs[0] or ""]
        found = {}
        for name, source in origin.items():
            type_, seen = self.made.type(name), self.ranges.get(source)
            if type_.dtype is DType.INT8 and seen is not None and type_.quantization == scale_for(seen, DType.INT8):
                found[name] = self.groups[source]
        return found

    def values(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """All float values of `made` for a batch of inputs, [samples, *shape], by name."""

        def one(*sample: Tensor) -> dict[str, Tensor]:
            known = dict(self.constants)
            for name, value in zip(self.made.inputs, sample, strict=True):
                known[name] = self._quantized(name, value)
            for node in self.made.nodes:
                known[node.outputs[0]] = self.result(node, known)
            return {name: known[name] for node in self.made.nodes for name in node.outputs}

        return torch.func.vmap(one)(*inputs)

    def result(self, node: Node, known: Mapping[str, Tensor]) -> Tensor:
        """What a node makes of real values by name, rounded to what its integers stand for."""
        (name,) = node.outputs
        if isinstance(node.op, Quantize | Dequantize):
            result = known[node.inputs[0] or ""]
        else:
            operands = [None if operand is None else known[operand] for operand in node.inputs]
            if type(node.op) in WEIGHTED_AXES and node.name in self.nodes:
                operands = self._weighted(node, operands)
            result = apply(node.op, operands, self.made.input_types(node), self.made.type(name))
        moved = isinstance(node.op, KEEPING) and not isinstance(node.op, _MAKING)
        return result if moved else self._quantized(name, result)

    def _scale(self, name: str) -> tuple[Tensor, Tensor]:
        """Scale and zero point of a value with one scale."""
        quantization = self.made.type(name).quantization
        assert quantization is not None
        group = self.learned.get(name)
        if group is None:
            return torch.tensor(quantization.scale), torch.tensor(float(quantization.zero_point))
        seen = self.range_of[group]
        factor = torch.exp(self.parameters[_range_name(group)])
        scale = factor * max((seen.high - seen.low) / 255, SMALLEST_SCALE)
        return scale, torch.clamp(torch.round(-128 - factor * seen.low / scale), -128, 127).detach()

    def _quantized(self, name: str, x: Tensor) -> Tensor:
        """Real values as the integers of a value's type stand for them."""
        type_ = self.made.type(name)
        if type_.quantization is None:
            return x
        scale, zero_point = self._scale(name)
        return (torch.clamp(rounded(x / scale + zero_point), *type_.dtype.limits) - zero_point) * scale

    def _weighted(self, node: Node, operands: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The operands of a layer with its weights and bias of now, rounded where the layer is one of integers."""
        source = self.nodes[node.name]
        reals = [self._parameter(name, operand) for name, operand in zip(source.inputs, operands, strict=True)]
        x, weights, bias = reals
        type_ = self.made.type(node.inputs[1] or "")
        if type_.dtype is not DType.INT8 or weights is None:
            return reals
        x_scale, _ = self._scale(node.inputs[0] or "")
        axis = WEIGHTED_AXES[type(node.op)]
        most_bias = x_scale.detach() * MOST_BIAS[self.made.type(node.inputs[0] or "").dtype]
        scales = _weight_scales(weights.detach(), bias, axis, most_bias, per_channel=self.per_channel)
        along = [1] * weights.ndim
        along[axis] = -1
        scale = scales.reshape(along)
        small = torch.clamp(rounded(weights / scale), -127, 127) * scale
        if bias is not None:
            unit = x_scale.detach() * scales
            bias = rounded(bias / unit) * unit
        return [x, small, bias]

    def _parameter(self, name: str | None, operand: Tensor | None) -> Tensor | None:
        if name is None or name not in self.scaled:
            return operand
        return self.scaled[name].real(self.parameters[name])

    def weights(self) -> Graph:
        """The float graph with the weights of now."""
        builder = GraphBuilder.of(self.graph)
        for name, scaled in self.scaled.items():
            value = builder.values[name]
            data = scaled.real(self.parameters[name]).detach().numpy().astype(np.float32)
            builder.value(name, value.type, data)
        return builder.build()

    def trained_ranges(self) -> dict[str, Range]:
        """The ranges of now, of all values that have one."""
        factors = {group: float(torch.exp(self.parameters[_range_name(group)].detach()))
                   for group in set(self.learned.values())}  # fmt: skip
        return {
            name: Range(seen.low * factors.get(self.groups[name], 1.0), seen.high * factors.get(self.groups[name], 1.0))
            for name, seen in self.ranges.items()
        }


def _range_name(group: int) -> str:
    return f"range of group {group}"


def _real_constant(data: np.ndarray, type_: TensorType) -> Tensor:
    quantization = type_.quantization
    if quantization is None:
        return torch.tensor(data)
    scales, zero_points = _along(quantization, data.ndim)
    return torch.tensor(((data.astype(np.float64) - zero_points) * scales).astype(np.float32))


def _along(quantization: Quantization, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales and zero points, shaped to broadcast over a constant."""
    shape = [1] * rank
    if quantization.axis is not None:
        shape[quantization.axis] = -1
    return tuple(np.array(part).reshape(shape) for part in (quantization.scales, quantization.zero_points))  # type: ignore[return-value]


def _weight_scales(weights: Tensor, bias: Tensor | None, axis: int, most_bias: Tensor, *, per_channel: bool) -> Tensor:
    """As `quantize.weight_scales` gives them."""
    others = [place for place in range(weights.ndim) if place != axis]
    scales = weights.abs().amax(others) / 127
    if bias is not None:
        scales = torch.maximum(scales, bias.detach().abs() / most_bias)
    scales = scales.clamp_min(SMALLEST_SCALE)
    return scales if per_channel else scales.max().reshape(1)
