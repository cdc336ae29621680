"""Functions of one and two values, reductions, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.onnx import elementwise
from midge.load.onnx.held import Held, Known
from midge.load.onnx.site import Site, clip_limits, rectifier_of
from midge.ops.add import Add
from midge.ops.base import Activation, Op
from midge.ops.binary import Binary
from midge.ops.binary import Function as Pair
from midge.ops.map import Function, Map
from midge.ops.mean import Mean, reduced_shape
from midge.ops.mul import Mul
from midge.ops.reduce import Function as Total
from midge.ops.reduce import Reduce
from midge.ops.relu import Relu
from midge.ops.sub import Sub


def mapped(function: Function) -> Callable[[Site], None]:
    """A row for a function of one value, in float32."""
    return lambda site: site.bind(apply(site, function, site.held(0)))


def apply(site: Site, function: Function, x: Held) -> Held:
    """The function of a tensor."""
    return one(site, Map(function), x)


def one(site: Site, op: Op, x: Held) -> Held:
    """A float32 operator of one operand, in whatever order its elements lie."""
    x = site.importer.real(x)
    type_ = TensorType(DType.FLOAT32, x.type.shape)
    return Held(site.make(op, [x.value], type_), type_, x.order)


def pair(function: Pair) -> Callable[[Activation], Op]:
    return lambda activation: Binary(function, activation)


def extreme(function: Pair) -> Callable[[Site], None]:
    """Max or Min of any number of operands."""

    def row(site: Site) -> None:
        found: Known | Held = site.operand(0)
        for position in range(1, len(site.node.inputs)):
            found = two(site, pair(function), found, site.operand(position))
        site.bind(found)

    return row


def two(site: Site, make: Callable[[Activation], Op], a: Known | Held, b: Known | Held) -> Held:
    """A float32 operator of two operands that broadcast."""
    return elementwise.combined(site, make, a, b, None)


def number(value: float) -> Known:
    return Known(np.array(value, np.float32))


def divide(site: Site) -> None:
    """Division; by constants, multiplication by 1 / constant. Of whole numbers, their fraction is cut off."""
    divisor = site.operand(1)
    if isinstance(divisor, Held):
        elementwise.combine(site, pair(Pair.DIV), site.operand(0), divisor)
    elif isinstance(x := site.operand(0), Held) and x.is_whole:
        quotient = two(site, pair(Pair.DIV), x, Known(divisor.array.astype(np.float32)))
        site.bind(replace(apply(site, Function.TRUNC, quotient), is_whole=True))
    else:
        elementwise.div(site)


def cast(site: Site) -> None:
    """Casts that float32 can follow: to a float type, and to integers, which are then whole float32 numbers.

    Whole numbers of float32 are exact up to 2^24 in magnitude, which is what files in this form need.
    """
    x, to = site.held(0), int(site.attribute("to", 1))
    if x.type.dtype in (DType.INT8, DType.UINT8) and not x.is_real and to in _FLOATS:
        site.bind(_numbers(site, x))
        return
    if not (x.is_real or x.type.dtype is DType.FLOAT32):
        site.unsupported(f"from {x.type.dtype.value} to type {to}")
    if to in _FLOATS:
        site.bind(replace(x, is_whole=False))
    elif to in _WIDE_INTEGERS:
        site.bind(replace(x if x.is_whole else apply(site, Function.TRUNC, x), is_whole=True))
    else:
        site.unsupported(f"from {x.type.dtype.value} to type {to}")


_FLOATS, _WIDE_INTEGERS = (1, 10, 11, 16), (6, 7)
"""FLOAT, FLOAT16, DOUBLE, BFLOAT16; INT32, INT64 (onnx.TensorProto.DataType)."""


def _numbers(site: Site, x: Held) -> Held:
    """Integers as the numbers that they are: those without a scale, as their type says."""
    quantization = x.type.quantization
    if quantization is None or (quantization.scale, quantization.zero_point) not in ((1.0, 0), (1.0, -128)):
        site.unsupported("integers with a scale read as numbers")
    return replace(site.importer.real(replace(x, is_real=True)), is_whole=True)


def clip(site: Site) -> None:
    """Clip: a rectifier where its bounds are one's, else the larger and the smaller of two."""
    limits = clip_limits(site)
    if limits is None:
        site.unsupported("bounds computed at run time")
    if rectifier_of(limits) is not None or limits == (-np.inf, np.inf):
        elementwise.clip(site)
        return
    found, (low, high) = site.held(0), limits
    if low != -np.inf:
        found = two(site, pair(Pair.MAXIMUM), found, number(low))
    if high != np.inf:
        found = two(site, pair(Pair.MINIMUM), found, number(high))
    site.bind(found)


def leaky_relu(site: Site) -> None:
    """LeakyRelu: the larger of x and alpha x (the smaller, where alpha is above 1)."""
    alpha = float(site.attribute("alpha", 0.01))
    x = site.held(0)
    site.bind(two(site, pair(Pair.MAXIMUM if alpha <= 1 else Pair.MINIMUM), x, two(site, Mul, x, number(alpha))))


def prelu(site: Site) -> None:
    """PRelu: max(x, 0) + slope min(x, 0)."""
    x, slope = site.held(0), site.constant(1, "slopes")
    below = two(site, Mul, two(site, pair(Pair.MINIMUM), x, number(0.0)), slope)
    site.bind(two(site, Add, one(site, Relu(Activation.RELU), x), below))


def hard_sigmoid(site: Site) -> None:
    """HardSigmoid: alpha x + beta, between 0 and 1."""
    scaled = two(site, Mul, site.held(0), number(float(site.attribute("alpha", 0.2))))
    shifted = two(site, Add, scaled, number(float(site.attribute("beta", 0.5))))
    site.bind(two(site, pair(Pair.MINIMUM), one(site, Relu(Activation.RELU), shifted), number(1.0)))


def elu(site: Site) -> None:
    if float(site.attribute("alpha", 1.0)) != 1.0:
        site.unsupported("alpha other than 1")
    site.bind(apply(site, Function.ELU, site.held(0)))


def gelu(site: Site) -> None:
    is_tanh = site.attribute("approximate", "none") == "tanh"
    site.bind(apply(site, Function.GELU_TANH if is_tanh else Function.GELU, site.held(0)))


def softplus(site: Site) -> None:
    """Softplus: max(x, 0) + ln(1 + e^-|x|)."""
    x = site.held(0)
    power = apply(site, Function.EXP, apply(site, Function.NEG, apply(site, Function.ABS, x)))
    logarithm = apply(site, Function.LOG, two(site, Add, power, number(1.0)))
    site.bind(two(site, Add, one(site, Relu(Activation.RELU), x), logarithm))


def power(site: Site) -> None:
    """Pow with the exponents 2, 1/2, -1/2, 1 and 3."""
    exponent, x = site.number(1, "an exponent"), site.held(0)
    if exponent == 2.0:
        elementwise.combine(site, Mul, x, x)
    elif exponent == 3.0:
        site.bind(two(site, Mul, x, two(site, Mul, x, x)))
    elif exponent in _POWERS:
        site.bind(apply(site, _POWERS[exponent], x))
    else:
        site.unsupported(f"the exponent {exponent}")


_POWERS = {0.5: Function.SQRT, -0.5: Function.RSQRT, -1.0: Function.RECIPROCAL}


def log_softmax(site: Site) -> None:
    """LogSoftmax along one axis: d - ln(sum(e^d)) with d = x - max(x)."""
    x = site.importer.real(site.held(0))
    rank, is_old = len(x.shape), site.importer.raw.opset < 13
    axis = site.axis(int(site.attribute("axis", 1 if is_old else -1)), rank)
    if is_old and any(size != 1 for size in x.shape[axis + 1 :]):
        site.unsupported("several axes at once")
    distance = two(site, Sub, x, reduced(site, Total.MAX, x, (axis,)))
    total = reduced(site, Total.SUM, apply(site, Function.EXP, distance), (axis,))
    site.bind(two(site, Sub, distance, apply(site, Function.LOG, total)))


def reduced(site: Site, function: Total | None, x: Held, axes: tuple[int, ...], *, keep_dims: bool = True) -> Held:
    """A reduction (None: the mean) over axes of the ONNX tensor, in float32."""
    x = site.importer.real(x)
    lying = x.axes or tuple(range(len(x.shape)))
    operand = site.place(x, lying)
    inner = tuple(sorted(lying.index(axis) for axis in axes))
    source = site.importer.builder.values[operand].type
    op = Mean(inner, keep_dims) if function is None else Reduce(function, inner, keep_dims)
    made = site.make(op, [operand], TensorType(DType.FLOAT32, reduced_shape(source.shape, inner, keep_dims)))
    kept = lying if keep_dims else tuple(axis for axis in lying if axis not in axes)
    left = sorted(kept)
    return site.held_of(made, reduced_shape(x.shape, axes, keep_dims), tuple(left.index(axis) for axis in kept))


def reduce_by(function: Total) -> Callable[[Site], None]:
    """A row for ReduceSum and its like."""

    def row(site: Site) -> None:
        x = site.held(0)
        rank, named = len(x.shape), site.integers("axes", 1)
        if not named and site.attribute("noop_with_empty_axes", 0):
            site.bind(x)
            return
        axes = tuple(sorted({site.axis(axis, rank) for axis in named or range(rank)}))
        site.bind(reduced(site, function, x, axes, keep_dims=bool(site.attribute("keepdims", 1))))

    return row


def global_max(site: Site) -> None:
    """GlobalMaxPool."""
    x = site.held(0)
    site.bind(reduced(site, Total.MAX, x, tuple(range(2, len(x.shape)))))


def layer_norm(site: Site) -> None:
    """LayerNormalization over the axes from `axis` on: (x - mean) / sqrt(variance + epsilon), scaled and shifted."""
    if any(site.node.outputs[1:]):
        site.unsupported("mean and deviation as results")
    x = site.importer.real(site.held(0))
    rank = len(x.shape)
    axes = tuple(range(site.axis(int(site.attribute("axis", -1)), rank), rank))
    site.bind(_normalized(site, x, axes, float(site.attribute("epsilon", 1e-5))))
    _scale_and_shift(site, lambda array: array)


def instance_norm(site: Site) -> None:
    """InstanceNormalization: each channel of an image."""
    x = site.importer.real(site.held(0))
    rank = len(x.shape)
    site.bind(_normalized(site, x, tuple(range(2, rank)), float(site.attribute("epsilon", 1e-5))))
    _scale_and_shift(site, lambda array: array.reshape(-1, *(1,) * (rank - 2)))


def _normalized(site: Site, x: Held, axes: tuple[int, ...], epsilon: float) -> Held:
    distance = two(site, Sub, x, reduced(site, None, x, axes))
    variance = reduced(site, None, two(site, Mul, distance, distance), axes)
    factor = apply(site, Function.RSQRT, two(site, Add, variance, number(epsilon)))
    return two(site, Mul, distance, factor)


def _scale_and_shift(site: Site, arranged: Callable[[np.ndarray], np.ndarray]) -> None:
    """Operands 1 and 2 as factor and offset of the result so far."""
    for position, make in ((1, Mul), (2, Add)):
        if site.has(position):
            constant = Known(arranged(site.known(position, "a scale or offset")))
            site.bind(two(site, make, site.importer.tensors[site.node.outputs[0]], constant))


ROWS: dict[str, Callable[[Site], None]] = {
    "Abs": mapped(Function.ABS),
    "Cast": cast,
    "Ceil": mapped(Function.CEIL),
    "Clip": clip,
    "Cos": mapped(Function.COS),
    "Div": divide,
    "Elu": elu,
    "Exp": mapped(Function.EXP),
    "Floor": mapped(Function.FLOOR),
    "Gelu": gelu,
    "GlobalMaxPool": global_max,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": mapped(Function.HARD_SWISH),
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "LeakyRelu": leaky_relu,
    "Log": mapped(Function.LOG),
    "LogSoftmax": log_softmax,
    "Max": extreme(Pair.MAXIMUM),
    "Min": extreme(Pair.MINIMUM),
    "Neg": mapped(Function.NEG),
    "PRelu": prelu,
    "Pow": power,
    "Reciprocal": mapped(Function.RECIPROCAL),
    "ReduceMax": reduce_by(Total.MAX),
    "ReduceMin": reduce_by(Total.MIN),
    "ReduceProd": reduce_by(Total.PROD),
    "ReduceSum": reduce_by(Total.SUM),
    "Round": mapped(Function.ROUND),
    "Sign": mapped(Function.SIGN),
    "Sin": mapped(Function.SIN),
    "Softplus": softplus,
    "Sqrt": mapped(Function.SQRT),
}
