"""Which function writes which ATen operator as records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from midge.load.torch import functions, layers, logic, quantized, recurrent, shapes
from midge.load.torch.call import Call

ROWS: dict[str, Callable[[Call], Any]] = {
    **layers.ROWS, **functions.ROWS, **logic.ROWS, **shapes.ROWS, **quantized.ROWS, **recurrent.ROWS,
}  # fmt: skip
"""ATen operator without its overload -> the function that returns the record, or records, of its results."""

FOLLOWED = {
    "aten.alias": "self", "aten.clone": "self", "aten.contiguous": "self", "aten.detach": "self",
    "aten.dropout": "input", "aten.feature_dropout": "input", "aten.lift_fresh_copy": "data",
}  # fmt: skip
"""Operators that are nothing at inference -> the operand that they pass on."""
