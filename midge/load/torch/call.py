"""The place where an ATen operator is written as records: its operands by name, and what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from midge.load.records import Records

MORE = "more than one tensor"


class Refused(Exception):
    """An operator, or a use of one, that has no records."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Call:
    """One call of an operator. `names` holds the record of each operand that is a tensor."""

    def __init__(self, records: Records, node: Any, arguments: dict[str, Any], names: dict[Any, Any]) -> None:
        self.records = records
        self.node = node
        self._arguments = arguments
        self._names = names

    def __getitem__(self, name: str) -> Any:
        """An operand that is no tensor."""
        return self._arguments[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arguments

    def dtype(self, name: str) -> str:
        """The element type of an operand: `bool`."""
        return str(self._arguments[name].meta["val"].dtype).removeprefix("torch.")

    def get(self, name: str, default: Any = None) -> Any:
        value = self._arguments.get(name)
        return default if value is None else value

    def is_tensor(self, name: str) -> bool:
        return _is_node(self._arguments.get(name))

    def tensor(self, name: str) -> str:
        """The record of an operand."""
        return self.record(self._arguments[name])

    def record(self, value: Any) -> str:
        """The record of a tensor, or of a number."""
        if not _is_node(value):
            if not isinstance(value, int | float):
                raise Refused(f"an operand {value!r}")
            return self.records.constant(np.array(value, np.float32), "number")
        found = self._names[value]
        if isinstance(found, tuple):
            raise Refused("results that are used all at once")
        if not isinstance(found, str):
            found = self.records.constant(array_of(found), value.name)
            self._names[value] = found
        return found

    def optional(self, name: str) -> str:
        """The record of an operand, "" where it is left out."""
        return self.tensor(name) if self.is_tensor(name) else ""

    def constant(self, name: str) -> np.ndarray | None:
        """An operand that does not depend on the inputs; None where it is left out."""
        value = self._arguments.get(name)
        if value is None:
            return None
        found = self._names[value] if _is_node(value) else value
        if isinstance(found, str) and found in self.records.constants:
            return self.records.constants[found]
        if isinstance(found, str | tuple):
            raise Refused(f"{name} computed at run time")
        return array_of(found)

    def shape(self, name: str) -> tuple[int, ...]:
        return shape_of(self._arguments[name])

    @property
    def result_shapes(self) -> tuple[tuple[int, ...], ...]:
        value = self.node.meta["val"]
        return tuple(tuple(one.shape) for one in value) if isinstance(value, list | tuple) else (tuple(value.shape),)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.records.op(kind, *inputs, **attributes)

    def integers(self, values: Sequence[int]) -> str:
        return self.records.constant(np.array(values, np.int64), "sizes")

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        return self.op("Reshape", name, self.integers(shape))

    def pair(self, name: str, rank: int, default: Sequence[int] = ()) -> tuple[int, ...]:
        """Sizes for each spatial axis; PyTorch takes one for all."""
        values = self.get(name, ()) or default
        values = (values,) if isinstance(values, int) else tuple(values)
        return values * rank if len(values) == 1 else values


def _is_node(value: Any) -> bool:
    import torch

    return isinstance(value, torch.fx.Node)


def shape_of(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def array_of(value: Any) -> np.ndarray:
    """A constant tensor as NumPy holds it; half floats as float32."""
    import torch

    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.float()
    return value.contiguous().numpy()
