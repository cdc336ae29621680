"""Constants of the network in flash: equal arrays are emitted once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from midge.ir.types import DType
from midge.kernels.base import Constant
from midge.kernels.render import c_float

_LINE_CHARACTERS = 118


@dataclass(frozen=True, slots=True)
class Declaration:
    """One array: its C name, element type, length, alignment, and its values as lines of C."""

    name: str
    c_type: str
    length: int
    align_bytes: int
    lines: tuple[str, ...]


class ConstantPool:
    """Collects the constants of all layers; names say the first layer and role that used them."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._names: dict[tuple[str, str], str] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._aligns: dict[str, int] = {}

    @staticmethod
    def reference(layer: int, role: str) -> str:
        """What stands for a constant until its name is known."""
        return f"@{layer}:{role}@"

    def add(self, layer: int, op: str, constant: Constant) -> str:
        """The C name of a constant's array; an equal one that is there already serves again."""
        array = np.ascontiguousarray(constant.data)
        key = (array.dtype.name, hashlib.sha256(array.tobytes()).hexdigest())
        name = self._names.setdefault(key, f"{self._prefix}_l{layer:02d}_{op}_{constant.role}")
        self._arrays.setdefault(name, array)
        self._aligns[name] = max(self._aligns.get(name, 1), constant.align_bytes)
        return name

    @property
    def total_bytes(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())

    def declarations(self) -> list[Declaration]:
        return [
            Declaration(name, _c_type(array), array.size, self._aligns[name], tuple(_lines(array)))
            for name, array in self._arrays.items()
        ]


def _c_type(array: np.ndarray) -> str:
    """The C type of an array's elements: float64 is no type of tensors, but scales may have it."""
    return "double" if array.dtype == np.float64 else DType.of(array).c_name


def _lines(array: np.ndarray) -> list[str]:
    if array.dtype == np.float64:
        return wrapped(value.hex() for value in array.reshape(-1).tolist())
    values = (array.view(np.uint8) if array.dtype == np.bool_ else array).reshape(-1).tolist()
    if array.dtype.kind == "f":
        return wrapped(c_float(value) for value in values)
    return wrapped("INT32_MIN" if value == -(2**31) else str(value) for value in values)


def wrapped(texts: Iterable[str]) -> list[str]:
    """Initialisers, separated by commas, as lines of C."""
    lines: list[str] = []
    line = ""
    for text in texts:
        if len(line) + len(text) + 2 > _LINE_CHARACTERS:
            lines.append(line.rstrip())
            line = ""
        line += f"{text}, "
    return [*lines, line.rstrip()] if line else lines
