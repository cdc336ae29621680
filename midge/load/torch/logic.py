"""Comparisons, conditions, choices, and indices of extremes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from midge.load.torch.call import Call, Refused


def pair(kind: str) -> Callable[[Call], str]:
    """A function of two tensors, or of a tensor and a number."""
    return lambda call: call.op(kind, call.tensor("self"), call.record(call["other"]))


def of_bools(kind: str) -> Callable[[Call], str]:
    """And, or, exclusive or: of conditions only."""

    def row(call: Call) -> str:
        for name in ("self", "other"):
            _need_bool(call, name)
        return pair(kind)(call)

    return row


def _need_bool(call: Call, name: str) -> None:
    if not call.is_tensor(name) or call.dtype(name) != "bool":
        raise Refused("bits of numbers")


def negated(call: Call) -> str:
    _need_bool(call, "self")
    return call.op("Not", call.tensor("self"))


def not_equal(call: Call) -> str:
    return call.op("Not", pair("Equal")(call))


def where(call: Call) -> str:
    if "self" not in call or "other" not in call:
        raise Refused("places, not values")
    return call.op("Where", call.tensor("condition"), call.record(call["self"]), call.record(call["other"]))


def masked_fill(call: Call) -> str:
    return call.op("Where", call.tensor("mask"), call.record(call["value"]), call.tensor("self"))


def extreme_index(kind: str) -> Callable[[Call], str]:
    def row(call: Call) -> str:
        keep, dim = int(call.get("keepdim", False)), call.get("dim")
        if dim is not None:
            return call.op(kind, call.tensor("self"), axis=int(dim), keepdims=keep)
        # Of all elements, in the order that PyTorch counts them in.
        flat = call.op(kind, call.reshaped(call.tensor("self"), [-1]), axis=0, keepdims=0)
        return call.reshaped(flat, call.result_shapes[0])

    return row


def extreme(values: str, index: str, two: str) -> Callable[[Call], Any]:
    """The largest or smallest values along an axis, and where they lie; of all elements; or of two tensors."""

    def row(call: Call) -> Any:
        x = call.tensor("self")
        if "other" in call:
            return call.op(two, x, call.tensor("other"))
        if "dim" not in call:
            return call.op(values, x, axes=list(range(len(call.shape("self")))), keepdims=0)
        axis, keep = int(call["dim"]), int(call.get("keepdim", False))
        return (call.op(values, x, axes=[axis], keepdims=keep), call.op(index, x, axis=axis, keepdims=keep))

    return row


ROWS: dict[str, Callable[[Call], Any]] = {
    "aten.__and__": of_bools("And"),
    "aten.__or__": of_bools("Or"),
    "aten.__xor__": of_bools("Xor"),
    "aten.argmax": extreme_index("ArgMax"),
    "aten.argmin": extreme_index("ArgMin"),
    "aten.bitwise_and": of_bools("And"),
    "aten.bitwise_not": negated,
    "aten.bitwise_or": of_bools("Or"),
    "aten.bitwise_xor": of_bools("Xor"),
    "aten.eq": pair("Equal"),
    "aten.ge": pair("GreaterOrEqual"),
    "aten.gt": pair("Greater"),
    "aten.isnan": lambda call: call.op("IsNaN", call.tensor("self")),
    "aten.le": pair("LessOrEqual"),
    "aten.logical_and": of_bools("And"),
    "aten.logical_not": negated,
    "aten.logical_or": of_bools("Or"),
    "aten.logical_xor": of_bools("Xor"),
    "aten.lt": pair("Less"),
    "aten.masked_fill": masked_fill,
    "aten.max": extreme("ReduceMax", "ArgMax", "Max"),
    "aten.min": extreme("ReduceMin", "ArgMin", "Min"),
    "aten.ne": not_equal,
    "aten.where": where,
}
