"""Functions of keras.ops, and arithmetic on tensors (`1 - x`), which stand in a model as operations without a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.keras.layer import Layer, Refused, activate, to_numpy
from midge.load.keras.rows import concatenate, reshape


def operands(layer: Layer) -> list[str]:
    """The records of all operands, numbers and arrays among them."""
    import keras

    given = [*layer.arguments.args, *layer.arguments.kwargs.values()]
    tensors = iter(layer.inputs)
    return [next(tensors) if isinstance(one, keras.KerasTensor) else layer.constant(_array(one)) for one in given]


def _array(value: Any) -> np.ndarray:
    if value is None or isinstance(value, str | slice | list | tuple | dict):
        raise Refused(f"an operand {value!r}")
    return np.asarray(value, np.float32) if isinstance(value, bool | int | float) else to_numpy(value)


def of_all(kind: str) -> Callable[[Layer], str]:
    """A function of its operands, without parameters."""
    return lambda layer: layer.op(kind, *operands(layer))


def negated(kind: str) -> Callable[[Layer], str]:
    return lambda layer: layer.op("Not", of_all(kind)(layer))


def power(layer: Layer) -> str:
    if len(layer.inputs) > 1:
        raise Refused("an exponent computed at run time")
    return of_all("Pow")(layer)


def square(layer: Layer) -> str:
    return layer.op("Mul", layer.x, layer.x)


def inverse_root(layer: Layer) -> str:
    return layer.op("Pow", layer.x, layer.constant(-0.5))


def activation(kind: str) -> Callable[[Layer], str]:
    """An activation function, as layers have it."""

    def row(layer: Layer) -> str:
        slope = getattr(layer.layer, "negative_slope", getattr(layer.layer, "alpha", None))
        if slope is not None and kind in ("leaky_relu", "elu"):
            return layer.op("LeakyRelu" if kind == "leaky_relu" else "Elu", layer.x, alpha=float(slope))
        if kind == "gelu":
            return layer.op("Gelu", layer.x, approximate="tanh" if layer.layer.approximate else "none")
        function = type("Named", (), {"__name__": kind})()
        return activate(layer, layer.x, function)

    return row


def along(kind: str) -> Callable[[Layer], str]:
    """A function along one axis."""

    def row(layer: Layer) -> str:
        if not isinstance(layer.layer.axis, int):
            raise Refused("several axes at once")
        return layer.op(kind, layer.x, axis=layer.layer.axis)

    return row


def reduced(kind: str) -> Callable[[Layer], str]:
    def row(layer: Layer) -> str:
        axes = _axes(layer)
        return layer.op(kind, layer.x, axes=axes, keepdims=int(layer.layer.keepdims))

    return row


def _axes(layer: Layer) -> list[int]:
    given = layer.layer.axis
    if given is None:
        raise Refused("all axes, those of the batch among them")
    axes = sorted(axis % layer.rank for axis in ([given] if isinstance(given, int) else given))
    if 0 in axes:
        raise Refused("the axis of the batch")
    return axes


def extreme_index(kind: str) -> Callable[[Layer], str]:
    def row(layer: Layer) -> str:
        (axis,) = _axes(layer)
        return layer.op(kind, layer.x, axis=axis, keepdims=int(layer.layer.keepdims))

    return row


def clip(layer: Layer) -> str:
    low, high = layer.layer.x_min, layer.layer.x_max
    if not all(isinstance(bound, int | float) for bound in (low, high)):
        raise Refused("bounds that are no numbers")
    return layer.op("Clip", layer.x, min=float(low), max=float(high))


def cast(layer: Layer) -> str:
    """To float32: of conditions and indices; numbers of float32 stay as they are."""
    if str(layer.layer.dtype) != "float32":
        raise Refused(f"a tensor of type {layer.layer.dtype}")
    return layer.op("Cast", layer.x, to=1)


def transpose(layer: Layer) -> str:
    axes = layer.layer.axes
    if axes is None or axes[0] != 0:
        raise Refused("a batch that moves")
    return layer.op("Transpose", layer.x, perm=[axis % layer.rank for axis in axes])


def part(layer: Layer) -> str:
    """Slices and numbers in brackets: `x[:, 1:3, ..., 0]`."""
    key = layer.arguments.args[1] if len(layer.arguments.args) > 1 else layer.arguments.kwargs["key"]
    keys = list(key) if isinstance(key, tuple) else [key]
    if any(one is not Ellipsis and not isinstance(one, slice | int) for one in keys):
        raise Refused("an index that is no slice or number")
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (layer.rank - len(keys) + 1)
    if not keys or keys[0] != slice(None):
        raise Refused("a part of the batch")
    found = layer.x
    for axis, one in enumerate(keys):
        if one == slice(None):
            continue
        size = layer.shapes[0][axis]
        first, last, step = (one if isinstance(one, slice) else slice(one % size, one % size + 1)).indices(size)
        found = layer.op("Slice", found, *(layer.integers([number]) for number in (first, last, axis, step)))
    return layer.reshaped(found, layer.result_shape)


_ALL = {
    "Absolute": "Abs", "Add": "Add", "Ceil": "Ceil", "Cos": "Cos", "Divide": "Div", "Equal": "Equal", "Erf": "Erf",
    "Exp": "Exp", "Floor": "Floor", "Greater": "Greater", "GreaterEqual": "GreaterOrEqual", "Isnan": "IsNaN",
    "Less": "Less", "LessEqual": "LessOrEqual", "Log": "Log", "LogicalAnd": "And", "LogicalNot": "Not",
    "LogicalOr": "Or", "LogicalXor": "Xor", "Matmul": "MatMul", "Maximum": "Max", "Minimum": "Min", "Multiply": "Mul",
    "Negative": "Neg", "Reciprocal": "Reciprocal", "Sign": "Sign", "Sin": "Sin", "Sqrt": "Sqrt", "Subtract": "Sub",
    "TrueDivide": "Div", "Where": "Where",
}  # fmt: skip
_ACTIVATIONS = {
    "Elu": "elu", "Gelu": "gelu", "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "LeakyRelu": "leaky_relu",
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus", "Tanh": "tanh",
}  # fmt: skip
_REDUCED = {"Max": "ReduceMax", "Mean": "ReduceMean", "Min": "ReduceMin", "Sum": "ReduceSum"}

ROWS: dict[str, Callable[[Layer], Any]] = {
    **{name: of_all(kind) for name, kind in _ALL.items()},
    **{name: activation(kind) for name, kind in _ACTIVATIONS.items()},
    **{name: reduced(kind) for name, kind in _REDUCED.items()},
    "Argmax": extreme_index("ArgMax"),
    "Argmin": extreme_index("ArgMin"),
    "Cast": cast,
    "Clip": clip,
    "Concatenate": concatenate,
    "ExpandDims": reshape,
    "GetItem": part,
    "LogSoftmax": along("LogSoftmax"),
    "NotEqual": negated("Equal"),
    "Power": power,
    "Reshape": reshape,
    "Rsqrt": inverse_root,
    "Softmax": along("Softmax"),
    "Square": square,
    "Squeeze": reshape,
    "Transpose": transpose,
}
"""Class of an operation -> the function that returns the record of its result."""
