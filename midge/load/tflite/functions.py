"""Functions of one and of two values, and reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.tflite import shapes
from midge.load.tflite.site import Site
from midge.ops.base import Activation
from midge.ops.binary import Binary
from midge.ops.binary import Function as Pair
from midge.ops.leaky_relu import LeakyRelu
from midge.ops.map import OF_INT8, Function, Map
from midge.ops.mean import reduced_shape
from midge.ops.reduce import Function as Total
from midge.ops.reduce import Reduce
from midge.ops.sub import Sub


def mapped(function: Function) -> Callable[[Site], None]:
    """A row for a function of one value."""

    def row(site: Site) -> None:
        site.require_dtypes(site.required(0), site.result())
        if not site.type(0).dtype.is_float and function not in OF_INT8:
            site.unsupported("")
        site.emit(Map(function), [site.required(0)], site.type(0).shape)

    return row


def gelu(site: Site) -> None:
    """GELU, by the error function or by its approximation with tanh."""
    (approximate,) = site.options("GeluOptions", "Approximate")
    mapped(Function.GELU_TANH if approximate else Function.GELU)(site)


def leaky_relu(site: Site) -> None:
    """LEAKY_RELU."""
    site.require_dtypes(site.required(0), site.result(), int16=True)
    (alpha,) = site.options("LeakyReluOptions", "Alpha")
    site.emit(LeakyRelu(float(alpha)), [site.required(0)], site.type(0).shape)


def paired(function: Pair, options: str, compute: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
           ) -> Callable[[Site], None]:  # fmt: skip
    """A row for a function of two values; `compute` folds it on sizes."""

    def row(site: Site) -> None:
        a, b = site.type(0), site.type(1)
        if compute is not None and shapes.fold_integers(site, compute):
            return
        (code,) = (site.operator.options(site.where, options, "FusedActivationFunction") or (0,)) if options else (0,)
        is_extreme = function in (Pair.MAXIMUM, Pair.MINIMUM)
        site.require_dtypes(site.required(0), site.required(1), site.result(), int16=is_extreme)
        types = (a, b, site.result_type())
        if not a.dtype.is_float and (not is_extreme or len({type_.quantization for type_ in types}) > 1):
            site.unsupported("")
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            site.broken(f"shapes {list(a.shape)} and {list(b.shape)}", "operands that broadcast")
        site.emit(Binary(function, site.activation(code)), [site.required(0), site.required(1)], shape)

    return row


def reduced(function: Total) -> Callable[[Site], None]:
    """A row for a reduction over constant axes."""

    def row(site: Site) -> None:
        x = site.type(0)
        if site.constant(0) is not None and x.dtype in (DType.INT32, DType.INT64):
            _fold(site, function)
            return
        site.require_dtypes(site.required(0), site.result())
        (keep_dims,) = site.options("ReducerOptions", "KeepDims")
        axes = shapes.axes_of(site, 1, len(x.shape))
        same = x.quantization == site.result_type().quantization
        if not x.dtype.is_float and (function not in (Total.MAX, Total.MIN) or not same):
            site.unsupported("")
        shape = reduced_shape(x.shape, axes, bool(keep_dims))
        site.emit(Reduce(function, axes, bool(keep_dims)), [site.required(0)], shape)

    return row


def _fold(site: Site, function: Total) -> None:
    """A reduction of sizes."""
    (keep_dims,) = site.options("ReducerOptions", "KeepDims")
    values = site.known(0, "values")
    axes = shapes.axes_of(site, 1, values.ndim)
    compute = {Total.MAX: np.max, Total.MIN: np.min, Total.PROD: np.prod, Total.SUM: np.sum}[function]
    site.fold(np.asarray(compute(values, axis=axes, keepdims=bool(keep_dims)), values.dtype))


def log_softmax(site: Site) -> None:
    """LOG_SOFTMAX of float32, over the last axis: d - ln(sum(e^d)) with d = x - max(x)."""
    site.require_dtypes(site.required(0), site.result())
    x = site.type(0)
    if not x.dtype.is_float:
        site.unsupported("")
    last = (len(x.shape) - 1,)
    narrow = TensorType(DType.FLOAT32, reduced_shape(x.shape, last, True))
    chain = site.chain()
    largest = chain.add(Reduce(Total.MAX, last, True), [chain.operand], narrow)
    distance = chain.add(Sub(Activation.NONE), [chain.operand, largest], x)
    power = chain.add(Map(Function.EXP), [distance], x)
    total = chain.add(Reduce(Total.SUM, last, True), [power], narrow)
    chain.finish(Sub(Activation.NONE), [distance, chain.add(Map(Function.LOG), [total], narrow)], x.shape)


ROWS: dict[str, Callable[[Site], None]] = {
    "ABS": mapped(Function.ABS),
    "CEIL": mapped(Function.CEIL),
    "COS": mapped(Function.COS),
    "DIV": paired(Pair.DIV, "DivOptions"),
    "ELU": mapped(Function.ELU),
    "EXP": mapped(Function.EXP),
    "FLOOR": mapped(Function.FLOOR),
    "FLOOR_DIV": paired(Pair.FLOOR_DIV, "", np.floor_divide),
    "FLOOR_MOD": paired(Pair.FLOOR_MOD, "", np.mod),
    "GELU": gelu,
    "HARD_SWISH": mapped(Function.HARD_SWISH),
    "LEAKY_RELU": leaky_relu,
    "LOG": mapped(Function.LOG),
    "LOG_SOFTMAX": log_softmax,
    "MAXIMUM": paired(Pair.MAXIMUM, "", np.maximum),
    "MINIMUM": paired(Pair.MINIMUM, "", np.minimum),
    "NEG": mapped(Function.NEG),
    "POW": paired(Pair.POWER, ""),
    "REDUCE_MAX": reduced(Total.MAX),
    "REDUCE_MIN": reduced(Total.MIN),
    "REDUCE_PROD": reduced(Total.PROD),
    "ROUND": mapped(Function.ROUND),
    "RSQRT": mapped(Function.RSQRT),
    "SIGN": mapped(Function.SIGN),
    "SIN": mapped(Function.SIN),
    "SQRT": mapped(Function.SQRT),
    "SQUARE": mapped(Function.SQUARE),
    "SQUARED_DIFFERENCE": paired(Pair.SQUARED_DIFFERENCE, ""),
    "SUM": reduced(Total.SUM),
}

REFUSED = {
    "STABLEHLO_COMPOSITE": "a composite: export the model with its composites decomposed",
}
"""Why an operator has no import, where there is more to say than that."""
