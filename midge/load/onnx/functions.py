"""Functions of one and two values, and what is made of them."""

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
from midge.ops.mul import Mul
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
        quotient = two(site, pair(Pair.DIV), site.operand(0), divisor)
        whole = elementwise.is_whole(divisor)
        site.bind(replace(apply(site, Function.TRUNC, quotient), is_whole=True) if whole else quotient)
    elif isinstance(x := site.operand(0), Held) and elementwise.is_whole(x):
        quotient = two(site, pair(Pair.DIV), x, Known(divisor.array.astype(np.float32)))
        site.bind(replace(apply(site, Function.TRUNC, quotient), is_whole=True))
    else:
        elementwise.div(site)


def cast(site: Site, to: int | None = None) -> None:
    """Casts that float32 can follow: to a float type, and to integers, which are then whole float32 numbers.

    Whole numbers of float32 are exact up to 2^24 in magnitude, which is what files in this form need.
    """
    x, to = site.held(0), int(site.attribute("to", 1)) if to is None else to
    is_number = not x.is_real and not x.type.dtype.is_float
    if to == _BOOL:
        site.bind(x if x.type.dtype is DType.BOOL else site.importer.cast(site.importer.real(x), DType.BOOL))
    elif to in _FLOATS:
        site.bind(replace(site.importer.real(x) if is_number else x, is_whole=False))
    elif to in _INTEGERS:
        x = site.importer.real(x)
        site.bind(replace(x if x.is_whole or is_number else apply(site, Function.TRUNC, x), is_whole=True))
    else:
        site.unsupported(f"from {x.type.dtype.value} to type {to}")


def cast_like(site: Site) -> None:
    """CastLike: to the element type of another tensor."""
    like, x = site.operand(1), site.operand(0)
    if isinstance(like, Known):
        kind = like.array.dtype.kind
    else:
        kind = "b" if like.type.dtype is DType.BOOL else "i" if elementwise.is_whole(like) else "f"
    if isinstance(x, Known):
        site.bind(Known(x.array.astype({"b": np.bool_, "f": np.float32}.get(kind, np.int64))))
    else:
        cast(site, {"b": _BOOL, "f": _FLOATS[0]}.get(kind, _INTEGERS[-2]))


_FLOATS, _INTEGERS, _BOOL = (1, 10, 11, 16), (2, 3, 4, 5, 6, 7, 12), 9
"""FLOAT, FLOAT16, DOUBLE, BFLOAT16; 8 to 64 bits (undefined out of range); BOOL (onnx.TensorProto.DataType)."""


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


def tangent(site: Site) -> None:
    x = site.held(0)
    site.bind(two(site, pair(Pair.DIV), apply(site, Function.SIN, x), apply(site, Function.COS, x)))


def hyperbolic(make: Callable[[Activation], Op]) -> Callable[[Site], None]:
    """Sinh and Cosh: (e^x ± e^-x) / 2."""

    def row(site: Site) -> None:
        x = site.held(0)
        rising, falling = apply(site, Function.EXP, x), apply(site, Function.EXP, apply(site, Function.NEG, x))
        site.bind(two(site, Mul, two(site, make, rising, falling), number(0.5)))

    return row


def remainder(site: Site) -> None:
    """Mod: with the sign of the divisor, or (fmod) of the dividend."""
    a, b = site.operand(0), site.operand(1)
    if not site.attribute("fmod", 0):
        elementwise.combine(site, pair(Pair.FLOOR_MOD), a, b)
        return
    times = apply(site, Function.TRUNC, two(site, pair(Pair.DIV), a, b))
    site.bind(two(site, Sub, a, two(site, Mul, times, b)))


def mean_of(site: Site) -> None:
    """Mean of any number of operands."""
    count = len(site.node.inputs)
    if count == 1:
        site.bind(site.operand(0))
        return
    total: Known | Held = site.operand(0)
    for position in range(1, count):
        total = two(site, Add, total, site.operand(position))
    site.bind(two(site, Mul, total, number(1.0 / count)))


def power(site: Site) -> None:
    """Pow; with the exponents 2, 3, 1, 1/2, -1/2 and -1 as what these are."""
    x, exponent = site.operand(0), site.operand(1)
    constant = exponent.array.reshape(-1) if isinstance(exponent, Known) else np.zeros(0)
    value = float(constant[0]) if constant.size == 1 else None
    if value is None or isinstance(x, Known) or value not in (1.0, 2.0, 3.0, *_POWERS):
        site.bind(two(site, pair(Pair.POWER), x, exponent))
    elif value == 1.0:
        site.bind(x)
    elif value == 2.0:
        elementwise.combine(site, Mul, x, x)
    elif value == 3.0:
        site.bind(two(site, Mul, x, two(site, Mul, x, x)))
    else:
        site.bind(apply(site, _POWERS[value], x))


_POWERS = {0.5: Function.SQRT, -0.5: Function.RSQRT, -1.0: Function.RECIPROCAL}


ROWS: dict[str, Callable[[Site], None]] = {
    "Abs": mapped(Function.ABS),
    "Cast": cast,
    "CastLike": cast_like,
    "Ceil": mapped(Function.CEIL),
    "Clip": clip,
    "Cos": mapped(Function.COS),
    "Cosh": hyperbolic(Add),
    "Div": divide,
    "Erf": mapped(Function.ERF),
    "Exp": mapped(Function.EXP),
    "Floor": mapped(Function.FLOOR),
    "Log": mapped(Function.LOG),
    "Max": extreme(Pair.MAXIMUM),
    "Mean": mean_of,
    "Min": extreme(Pair.MINIMUM),
    "Mod": remainder,
    "Neg": mapped(Function.NEG),
    "Pow": power,
    "Reciprocal": mapped(Function.RECIPROCAL),
    "Round": mapped(Function.ROUND),
    "Sign": mapped(Function.SIGN),
    "Sin": mapped(Function.SIN),
    "Sinh": hyperbolic(Sub),
    "Sqrt": mapped(Function.SQRT),
    "Tan": tangent,
}
