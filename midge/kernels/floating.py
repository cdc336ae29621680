"""What the float kernels share: biases and clamps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from midge.ir.graph import Graph, Node
from midge.kernels import render
from midge.kernels.base import Function
from midge.ops.base import Activation


@dataclass(frozen=True, slots=True)
class FloatClamp:
    """A fused activation on floats: C text, helper functions, and its mark in a function's name."""

    low: float
    high: float
    key: str
    helpers: tuple[Function, ...]

    def of(self, expression: str) -> str:
        """The clamped expression."""
        if self.low == -math.inf and self.high == math.inf:
            return expression
        if self.high == math.inf:
            return f"midge_relu_f32({expression})"
        return f"midge_clamp_f32({expression}, {render.c_float(self.low)}, {render.c_float(self.high)})"


def float_clamp(activation: Activation) -> FloatClamp:
    """The clamp of a fused activation."""
    low, high = activation.real_bounds
    if activation is Activation.NONE:
        return FloatClamp(low, high, "", ())
    helper = render.helper("relu_f32" if activation is Activation.RELU else "clamp_f32")
    return FloatClamp(low, high, f"_{activation.value}", (helper,))


def exp_helpers() -> tuple[Function, ...]:
    """`midge_exp_f32`, after what it calls."""
    return (render.helper("power_of_two_f32"), render.helper("exp_f32"))


def float_bias(node: Node, graph: Graph, channels: int) -> np.ndarray:
    """The bias of a node with operands (x, weights, bias); zeros where it is left out."""
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.zeros(channels, np.float32) if bias is None else bias
