"""Operators in torch, on real values, so that gradients flow through them. Importing this module needs torch.

A form has an operator, its operands and types, and gives what the operator's NumPy reference gives for float32, within
rounding. Each works on one sample; `torch.func.vmap` makes batches of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from midge.ir.types import TensorType
from midge.ops import binary, compare, map, reduce
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Activation, Op, Padding
from midge.ops.batch_matmul import BatchMatmul
from midge.ops.binary import Binary
from midge.ops.compare import Compare
from midge.ops.concatenation import Concatenation
from midge.ops.conv2d import Conv2D
from midge.ops.copy import Copy
from midge.ops.cumsum import Cumsum
from midge.ops.depthwise_conv2d import DepthwiseConv2D
from midge.ops.fully_connected import FullyConnected
from midge.ops.l2_normalization import SMALLEST, L2Normalization
from midge.ops.leaky_relu import LeakyRelu
from midge.ops.logistic import Logistic
from midge.ops.map import Map
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.prelu import Prelu
from midge.ops.rearrange import Rearrange
from midge.ops.reduce import Reduce
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.resize_bilinear import FRACTION_BITS, ResizeBilinear
from midge.ops.select import Select
from midge.ops.softmax import Softmax
from midge.ops.sub import Sub
from midge.ops.take import Take
from midge.ops.tanh import Tanh
from midge.ops.transposed_conv2d import TransposedConv2D

Tensor = torch.Tensor
Operands = Sequence[Tensor | None]
Types = Sequence[TensorType | None]
Form = Callable[[Any, Operands, Types, TensorType], Tensor]


def apply(op: Op, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    """The operator's result, of the output's shape, on operands of one sample."""
    return FORMS[type(op)](op, operands, inputs, output)


def _clamp(x: Tensor, activation: Activation) -> Tensor:
    return x if activation is Activation.NONE else x.clamp(*activation.real_bounds)


def _some(operands: Operands) -> list[Tensor]:
    return [operand for operand in operands if operand is not None]


def _planes(x: Tensor, padding: Padding, fill: float = 0.0) -> Tensor:
    """[1, H, W, C] as [1, C, H, W], padded."""
    sides = (padding.left, padding.right, padding.top, padding.bottom)
    return functional.pad(x.permute(0, 3, 1, 2), sides, value=fill)


def _pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _conv2d(op: Conv2D, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    x, weights, *bias = _some(operands)
    groups = x.shape[3] // weights.shape[3]
    strides, dilations = (op.stride_h, op.stride_w), (op.dilation_h, op.dilation_w)
    kernel = weights.permute(0, 3, 1, 2)
    y = functional.conv2d(_planes(x, op.padding), kernel, *bias, stride=strides, dilation=dilations, groups=groups)
    return _clamp(_pixels(y), op.activation)


def _depthwise(op: DepthwiseConv2D, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    x, weights, *bias = _some(operands)
    strides, dilations = (op.stride_h, op.stride_w), (op.dilation_h, op.dilation_w)
    kernel = weights.permute(3, 0, 1, 2)
    groups = x.shape[3]
    y = functional.conv2d(_planes(x, op.padding), kernel, *bias, stride=strides, dilation=dilations, groups=groups)
    return _clamp(_pixels(y), op.activation)


def _transposed(op: TransposedConv2D, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    x, weights, *bias = _some(operands)
    outputs, height, width, depth = weights.shape
    groups = x.shape[3] // depth
    kernel = weights.reshape(groups, outputs // groups, height, width, depth).permute(0, 4, 1, 2, 3)
    kernel = kernel.reshape(x.shape[3], outputs // groups, height, width)
    strides = (op.stride_h, op.stride_w)
    whole = functional.conv_transpose2d(x.permute(0, 3, 1, 2), kernel, stride=strides, groups=groups)
    below, beside = (max(0, first + size - reached) for first, size, reached in
                     ((op.top, op.height, whole.shape[2]), (op.left, op.width, whole.shape[3])))  # fmt: skip
    whole = functional.pad(whole, (0, beside, 0, below))
    y = _pixels(whole[:, :, op.top : op.top + op.height, op.left : op.left + op.width])
    return _clamp(y + bias[0] if bias else y, op.activation)


def _fully_connected(op: FullyConnected, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs
    x, weights, *bias = _some(operands)
    y = functional.linear(x.reshape(-1, weights.shape[1]), weights, *bias)
    return _clamp(y, op.activation).reshape(output.shape)


def _matmul(op: BatchMatmul, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    a, b = _some(operands)
    return (a.swapaxes(-1, -2) if op.transpose_a else a) @ (b.swapaxes(-1, -2) if op.transpose_b else b)


def _average_pool(op: AveragePool2D, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    (x,) = _some(operands)
    window, strides = (op.kernel_h, op.kernel_w), (op.stride_h, op.stride_w)
    inside = torch.ones((1, *x.shape[1:3], 1))
    mean, share = (functional.avg_pool2d(_planes(part, op.padding), window, strides) for part in (x, inside))
    return _clamp(_pixels(mean / share), op.activation)


def _max_pool(op: MaxPool2D, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    (x,) = _some(operands)
    lowest = torch.finfo(torch.float32).min
    window, strides = (op.kernel_h, op.kernel_w), (op.stride_h, op.stride_w)
    return _clamp(_pixels(functional.max_pool2d(_planes(x, op.padding, lowest), window, strides)), op.activation)


def _mean(op: Mean, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs
    (x,) = _some(operands)
    return x.mean(op.axes).reshape(output.shape)


def _reduce(op: Reduce, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs
    (x,) = _some(operands)
    if op.function is reduce.Function.PROD:
        for axis in reversed(op.axes):
            x = x.prod(axis)
        return x.reshape(output.shape)
    function = {reduce.Function.MAX: torch.amax, reduce.Function.MIN: torch.amin, reduce.Function.SUM: torch.sum}
    return function[op.function](x, op.axes).reshape(output.shape)


def _resize(op: ResizeBilinear, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del output
    (x,) = _some(operands)
    type_ = inputs[0]
    assert type_ is not None
    one = 1.0 if type_.dtype.is_float else float(1 << FRACTION_BITS)
    for axis, between in ((1, op.rows(type_)), (2, op.columns(type_))):
        along = [1, 1, 1, 1]
        along[axis] = -1
        weight = torch.tensor(between.weight / one, dtype=torch.float32).reshape(along)
        low, high = (x.index_select(axis, torch.tensor(at)) for at in (between.low, between.high))
        x = low + (high - low) * weight
    return x


def _normalized(op: L2Normalization, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del op, inputs, output
    (x,) = _some(operands)
    return x / x.square().sum(-1, keepdim=True).clamp_min(SMALLEST**2).sqrt()


def _pad(op: Pad, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    (x,) = _some(operands)
    return functional.pad(x, [side for pair in reversed(op.paddings) for side in pair])


def _rearrange(op: Rearrange, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    (x,) = _some(operands)
    return x.reshape(-1).index_select(0, torch.tensor(op.positions())).reshape(op.shape)


def _take(op: Take, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del op, inputs
    x, positions = _some(operands)
    return x.reshape(-1).index_select(0, positions.reshape(-1)).reshape(output.shape)


def _cumsum(op: Cumsum, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    (x,) = _some(operands)
    sums = x.cumsum(op.axis)
    return sums - x if op.exclusive else sums


def _leaky(op: LeakyRelu, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del inputs, output
    (x,) = _some(operands)
    return torch.where(x > 0, x, x * op.alpha)


def _prelu(op: Prelu, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del op, inputs, output
    x, slope = _some(operands)
    return torch.where(x >= 0, x, x * slope)


def _select(op: Select, operands: Operands, inputs: Types, output: TensorType) -> Tensor:
    del op, inputs, output
    condition, a, b = _some(operands)
    return torch.where(condition, a, b)


_COMPARISONS: dict[compare.Function, Callable[[Tensor, Tensor], Tensor]] = {
    compare.Function.AND: torch.logical_and, compare.Function.EQUAL: torch.eq, compare.Function.GREATER: torch.gt,
    compare.Function.GREATER_EQUAL: torch.ge, compare.Function.LESS: torch.lt, compare.Function.LESS_EQUAL: torch.le,
    compare.Function.NOT_EQUAL: torch.ne, compare.Function.OR: torch.logical_or,
}  # fmt: skip
_MAPS: dict[map.Function, Callable[[Tensor], Tensor]] = {
    map.Function.ABS: torch.abs, map.Function.ATAN: torch.atan, map.Function.CEIL: torch.ceil,
    map.Function.COS: torch.cos,
    map.Function.ELU: functional.elu, map.Function.ERF: torch.erf, map.Function.EXP: torch.exp,
    map.Function.FLOOR: torch.floor, map.Function.GELU: functional.gelu,
    map.Function.GELU_TANH: lambda x: functional.gelu(x, approximate="tanh"),
    map.Function.HARD_SWISH: functional.hardswish, map.Function.LOG: torch.log, map.Function.NEG: torch.neg,
    map.Function.RECIPROCAL: torch.reciprocal, map.Function.ROUND: torch.round, map.Function.RSQRT: torch.rsqrt,
    map.Function.SIGN: torch.sign, map.Function.SIN: torch.sin, map.Function.SQRT: torch.sqrt,
    map.Function.SQUARE: torch.square, map.Function.TRUNC: torch.trunc,
}  # fmt: skip
_PAIRS: dict[binary.Function, Callable[[Tensor, Tensor], Tensor]] = {
    binary.Function.DIV: torch.div, binary.Function.FLOOR_DIV: lambda a, b: torch.floor(a / b),
    binary.Function.FLOOR_MOD: torch.remainder, binary.Function.MAXIMUM: torch.maximum,
    binary.Function.MINIMUM: torch.minimum, binary.Function.POWER: torch.pow,
    binary.Function.SQUARED_DIFFERENCE: lambda a, b: torch.square(a - b),
}  # fmt: skip


def _of_one(function: Callable[[Any, Tensor], Tensor]) -> Form:
    return lambda op, operands, inputs, output: function(op, _some(operands)[0])


def _of_two(function: Callable[[Any, Tensor, Tensor], Tensor]) -> Form:
    """With the activation that element-wise operators end with."""
    return lambda op, operands, inputs, output: _clamp(function(op, *_some(operands)), op.activation)


FORMS: dict[type[Op], Form] = {
    Add: _of_two(lambda op, a, b: a + b),
    AveragePool2D: _average_pool,
    BatchMatmul: _matmul,
    Binary: _of_two(lambda op, a, b: _PAIRS[op.function](a, b)),
    Compare: lambda op, operands, inputs, output: _COMPARISONS[op.function](*_some(operands)),
    Concatenation: lambda op, operands, inputs, output: torch.cat(_some(operands), op.axis),
    Conv2D: _conv2d,
    Copy: _of_one(lambda op, x: x),
    Cumsum: _cumsum,
    DepthwiseConv2D: _depthwise,
    FullyConnected: _fully_connected,
    L2Normalization: _normalized,
    LeakyRelu: _leaky,
    Logistic: _of_one(lambda op, x: torch.sigmoid(x)),
    Map: _of_one(lambda op, x: _MAPS[op.function](x)),
    MaxPool2D: _max_pool,
    Mean: _mean,
    Mul: _of_two(lambda op, a, b: a * b),
    Pad: _pad,
    Prelu: _prelu,
    Rearrange: _rearrange,
    Reduce: _reduce,
    Relu: _of_one(lambda op, x: _clamp(x, op.activation)),
    Reshape: lambda op, operands, inputs, output: _some(operands)[0].reshape(output.shape),
    ResizeBilinear: _resize,
    Select: _select,
    Softmax: _of_one(lambda op, x: torch.softmax(x * op.beta, -1)),
    Sub: _of_two(lambda op, a, b: a - b),
    Take: _take,
    Tanh: _of_one(lambda op, x: torch.tanh(x)),
    TransposedConv2D: _transposed,
}
