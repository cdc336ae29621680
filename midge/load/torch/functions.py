"""Functions of one and two tensors, softmax, reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.torch.call import Call, Refused


def one(kind: str, **attributes: Any) -> Callable[[Call], str]:
    """A function without parameters of its own."""
    return lambda call: call.op(kind, call.tensor("self"), **attributes)


def two(kind: str) -> Callable[[Call], str]:
    """A function of two tensors that broadcast; alpha is the factor of the second."""

    def row(call: Call) -> str:
        other = call.tensor("other") if call.is_tensor("other") else call.record(call["other"])
        if call.get("rounding_mode") is not None:
            raise Refused(f"rounding by {call['rounding_mode']}")
        return call.op(kind, call.tensor("self"), _scaled(call, other))

    return row


def _scaled(call: Call, name: str) -> str:
    alpha = call.get("alpha", 1)
    return name if alpha == 1 else call.op("Mul", name, call.record(float(alpha)))


def reversed_sub(call: Call) -> str:
    return call.op("Sub", call.record(call["other"]), _scaled(call, call.tensor("self")))


def clip(low: str, high: str) -> Callable[[Call], str]:
    def row(call: Call) -> str:
        if call.is_tensor(low) or call.is_tensor(high):
            raise Refused("bounds computed at run time")
        bounds = {"min": call.get(low), "max": call.get(high)}
        if bounds == {"min": 0, "max": None}:
            return call.op("Relu", call.tensor("self"))
        return call.op("Clip", call.tensor("self"),
                       **{name: float(value) for name, value in bounds.items() if value is not None})  # fmt: skip

    return row


def silu(call: Call) -> str:
    x = call.tensor("self")
    return call.op("Mul", x, call.op("Sigmoid", x))


def mish(call: Call) -> str:
    x = call.tensor("self")
    return call.op("Mul", x, call.op("Tanh", call.op("Softplus", x)))


def leaky_relu(call: Call) -> str:
    return call.op("LeakyRelu", call.tensor("self"), alpha=float(call["negative_slope"]))


def prelu(call: Call) -> str:
    slope = call.constant("weight")
    assert slope is not None
    shape = (-1, *(1,) * (len(call.shape("self")) - 2)) if slope.size > 1 else (1,)
    return call.op("PRelu", call.tensor("self"), call.records.constant(slope.reshape(shape), "slopes"))


def elu(call: Call) -> str:
    if (call["scale"], call["input_scale"]) != (1, 1):
        raise Refused("scales other than 1")
    return call.op("Elu", call.tensor("self"), alpha=float(call["alpha"]))


def softplus(call: Call) -> str:
    if call["beta"] != 1:
        raise Refused("beta other than 1")
    return call.op("Softplus", call.tensor("self"))


def gelu(call: Call) -> str:
    return call.op("Gelu", call.tensor("self"), approximate=call.get("approximate", "none"))


def along(kind: str) -> Callable[[Call], str]:
    """A function along one axis."""
    return lambda call: call.op(kind, call.tensor("self"), axis=int(call["dim"]))


def power(call: Call) -> str:
    if call.is_tensor("exponent"):
        raise Refused("an exponent computed at run time")
    return call.op("Pow", call.tensor("self"), call.record(float(call["exponent"])))


def reduce(kind: str) -> Callable[[Call], str]:
    def row(call: Call) -> str:
        dims = call.get("dim") or range(len(call.shape("self")))
        axes = [dims] if isinstance(dims, int) else list(dims)
        return call.op(kind, call.tensor("self"), axes=axes, keepdims=int(call.get("keepdim", False)))

    return row


def cast(call: Call) -> str:
    """To another type: of numbers, float32 stays float32."""
    if str(call.node.meta["val"].dtype) != "torch.float32":
        raise Refused(f"a tensor of type {call.node.meta['val'].dtype}")
    source = call._arguments["self"].meta["val"].dtype
    name = call.tensor("self")
    return name if str(source) == "torch.float32" else call.op("Cast", name, to=1)


_ONES = {
    "abs": "Abs", "ceil": "Ceil", "cos": "Cos", "exp": "Exp", "floor": "Floor", "hardswish": "HardSwish", "log": "Log",
    "neg": "Neg", "reciprocal": "Reciprocal", "relu": "Relu", "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign",
    "sin": "Sin", "sqrt": "Sqrt", "tanh": "Tanh",
}  # fmt: skip
_TWOS = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "maximum": "Max", "minimum": "Min"}

ROWS: dict[str, Callable[[Call], Any]] = {
    **{f"aten.{name}": one(kind) for name, kind in _ONES.items()},
    **{f"aten.{name}": two(kind) for name, kind in _TWOS.items()},
    "aten._log_softmax": along("LogSoftmax"),
    "aten._prelu_kernel": prelu,
    "aten._softmax": along("Softmax"),
    "aten._to_copy": cast,
    "aten.amax": reduce("ReduceMax"),
    "aten.amin": reduce("ReduceMin"),
    "aten.clamp": clip("min", "max"),
    "aten.clamp_min": clip("min", "max"),
    "aten.elu": elu,
    "aten.gelu": gelu,
    "aten.hardsigmoid": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "aten.hardtanh": clip("min_val", "max_val"),
    "aten.leaky_relu": leaky_relu,
    "aten.log_softmax": along("LogSoftmax"),
    "aten.mean": reduce("ReduceMean"),
    "aten.mish": mish,
    "aten.pow": power,
    "aten.prelu": prelu,
    "aten.relu6": one("Clip", min=0.0, max=6.0),
    "aten.rsqrt": lambda call: call.op("Pow", call.tensor("self"), call.records.constant(np.array(-0.5, np.float32))),
    "aten.rsub": reversed_sub,
    "aten.silu": silu,
    "aten.softmax": along("Softmax"),
    "aten.softplus": softplus,
    "aten.sum": reduce("ReduceSum"),
}
