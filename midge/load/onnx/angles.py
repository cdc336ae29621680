"""Inverse functions of angles and of hyperbolic functions, by the arc tangent, logarithms and roots."""

from __future__ import annotations

from collections.abc import Callable

from midge.load.onnx.functions import apply, number, pair, two
from midge.load.onnx.held import Held
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.binary import Function as Pair
from midge.ops.map import Function
from midge.ops.mul import Mul
from midge.ops.sub import Sub


def _row(function: Callable[[Site, Held], Held]) -> Callable[[Site], None]:
    return lambda site: site.bind(function(site, site.held(0)))


def arc_tangent(site: Site, x: Held) -> Held:
    return apply(site, Function.ATAN, x)


def arc_sine(site: Site, x: Held) -> Held:
    """atan(x / sqrt((1 - x) (1 + x)))."""
    left = two(site, Mul, two(site, Sub, number(1.0), x), two(site, Add, number(1.0), x))
    return arc_tangent(site, two(site, pair(Pair.DIV), x, apply(site, Function.SQRT, left)))


def arc_cosine(site: Site, x: Held) -> Held:
    """2 atan(sqrt((1 - x) / (1 + x))): near 1 without a difference of like numbers."""
    ratio = two(site, pair(Pair.DIV), two(site, Sub, number(1.0), x), two(site, Add, number(1.0), x))
    return two(site, Mul, number(2.0), arc_tangent(site, apply(site, Function.SQRT, ratio)))


def area_sine(site: Site, x: Held) -> Held:
    """The sign of x times ln(|x| + sqrt(x² + 1))."""
    size = apply(site, Function.ABS, x)
    root = apply(site, Function.SQRT, two(site, Add, two(site, Mul, size, size), number(1.0)))
    return two(site, Mul, apply(site, Function.SIGN, x), apply(site, Function.LOG, two(site, Add, size, root)))


def area_cosine(site: Site, x: Held) -> Held:
    """ln(x + sqrt((x - 1) (x + 1)))."""
    inner = two(site, Mul, two(site, Sub, x, number(1.0)), two(site, Add, x, number(1.0)))
    return apply(site, Function.LOG, two(site, Add, x, apply(site, Function.SQRT, inner)))


def area_tangent(site: Site, x: Held) -> Held:
    """ln((1 + x) / (1 - x)) / 2."""
    ratio = two(site, pair(Pair.DIV), two(site, Add, number(1.0), x), two(site, Sub, number(1.0), x))
    return two(site, Mul, number(0.5), apply(site, Function.LOG, ratio))


ROWS: dict[str, Callable[[Site], None]] = {
    "Acos": _row(arc_cosine),
    "Acosh": _row(area_cosine),
    "Asin": _row(arc_sine),
    "Asinh": _row(area_sine),
    "Atan": _row(arc_tangent),
    "Atanh": _row(area_tangent),
}
