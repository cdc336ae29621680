"""Collects the records of a model that is no ONNX file: ONNX's operators are what the importers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from midge.load.onnx.file import RawModel, RawNode, RawPort

OPSET = 18
"""Whose meaning the operators have."""


class Records:
    """A RawModel in the making. `layer` names the layer of the source that the next operators come from."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.layer = ""
        self.nodes: list[RawNode] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: list[RawPort] = []
        self.outputs: list[RawPort] = []
        self._names: set[str] = set()

    def unique(self, name: str) -> str:
        """A name that no tensor has yet."""
        found, count = name or "tensor", 1
        while found in self._names:
            found, count = f"{name}_{count}", count + 1
        self._names.add(found)
        return found

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator of one result."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], results: int, **attributes: Any) -> tuple[str, ...]:
        """Add an operator of several results."""
        names = tuple(self.unique(self.layer or kind.lower()) for _ in range(results))
        self.nodes.append(RawNode(len(self.nodes), self.layer, kind, tuple(inputs), names, attributes, None))
        return names

    def refuse(self, kind: str, inputs: Sequence[str], results: int, reason: str) -> tuple[str, ...]:
        """Add an operator that nothing imports; it is named together with all others."""
        return self.ops(kind, inputs, results, refusal=reason)

    def constant(self, array: np.ndarray, label: str = "constant") -> str:
        name = self.unique(label)
        self.constants[name] = np.asarray(array, order="C")
        return name

    def input(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> str:
        name = self.unique(name)
        self.inputs.append(RawPort(name, dtype, shape))
        return name

    def output(self, name: str, dtype: np.dtype | None, shape: tuple[int, ...]) -> None:
        self.outputs.append(RawPort(name, dtype, shape))

    def model(self) -> RawModel:
        return RawModel(self.file, OPSET, tuple(self.nodes), self.constants, tuple(self.inputs), tuple(self.outputs),
                        {})  # fmt: skip
