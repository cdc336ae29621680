"""int8 weights with float32 activations (dynamic range): layers that are no convolutions give the numbers of some."""

from __future__ import annotations

import numpy as np

from midge.ir.types import DType, Quantization, TensorType
from midge.load.tflite.site import Site
from midge.ops.base import Activation, Padding
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d_hybrid import Conv2DHybrid
from midge.ops.rearrange import Rearrange
from midge.ops.reshape import Reshape

_MOST_ROWS = 64


def hybrid_fully_connected(site: Site, weights: TensorType, bias: int | None, activation: Activation,
                           asymmetric: bool, shape: tuple[int, ...]) -> None:  # fmt: skip
    """Each row of inputs, which is quantised by itself, as one pixel of a 1x1 convolution."""
    outputs, depth = weights.shape
    rows = site.type(0).elements // depth
    if weights.quantization is None:
        site.broken("int8 weights without a scale", "quantised weights")
    if rows > _MOST_ROWS:
        site.unsupported(f"int8 weights with {rows} rows of float32 inputs")
    chain, op = site.chain(), Conv2DHybrid(1, 1, 1, 1, Padding(0, 0, 0, 0), activation, asymmetric)
    pixel, result = TensorType(DType.FLOAT32, (1, 1, 1, depth)), TensorType(DType.FLOAT32, (1, 1, 1, outputs))
    data = site.known(1, "weights").reshape(outputs, 1, 1, depth)
    kernel = chain.constant(TensorType(DType.INT8, data.shape, weights.quantization), data)
    addends = None if bias is None else chain.value(bias)
    made = []
    for row in range(rows):
        take = Reshape(pixel.shape) if rows == 1 else Rearrange(pixel.shape, row * depth, (depth,), (1,))
        made.append(chain.add(op, [chain.add(take, [chain.operand], pixel), kernel, addends], result))
    if rows > 1:
        joined = TensorType(DType.FLOAT32, (1, rows, 1, outputs))
        made = [chain.add(Concatenation(1, Activation.NONE), made, joined)]
    chain.finish(Reshape(shape), made, shape)


def hybrid_depthwise(site: Site, weights: TensorType, bias: int | None, op: Conv2DHybrid) -> None:
    """A convolution with a group for each channel."""
    quantization = weights.quantization
    if quantization is None:
        site.broken("int8 weights without a scale", "quantised weights")
    data = np.ascontiguousarray(site.known(1, "weights").transpose(3, 1, 2, 0))
    axis = None if quantization.axis is None else 0
    type_ = TensorType(DType.INT8, data.shape, Quantization(quantization.scales, quantization.zero_points, axis))
    chain, x = site.chain(), site.type(0)
    rows, columns = op.window(type_).output_size(x.shape[1], x.shape[2])
    operands = [chain.operand, chain.constant(type_, data), None if bias is None else chain.value(bias)]
    chain.finish(op, operands, (1, rows, columns, data.shape[0]))
