"""Several nodes in place of one operator of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from midge.ir.types import TensorType
from midge.ops.base import Op

if TYPE_CHECKING:
    from midge.load.tflite.site import Site


class Chain:
    """Nodes that stand for one operator, added one after the other; `finish` adds the one that makes its result."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._is_spoiled = site.importer.reads_spoiled(site.operator)
        self._count = 0

    @property
    def operand(self) -> str:
        """The value of operand 0."""
        return "" if self._is_spoiled else self._site.importer.value(self._site.required(0))

    def value(self, index: int) -> str:
        """The value of a tensor."""
        return "" if self._is_spoiled else self._site.importer.value(index)

    def reshaped(self, index: int, shape: tuple[int, ...]) -> str:
        """The value of a tensor in another shape."""
        return "" if self._is_spoiled else self._site.importer.reshaped(index, shape)

    def constant(self, type_: TensorType, data: np.ndarray) -> str:
        """A constant that the file does not have."""
        if self._is_spoiled:
            return ""
        builder, operator = self._site.importer.builder, self._site.operator
        return builder.value(builder.unique(f"{operator.code.lower()}_{operator.index}_constant"), type_, data)

    def add(self, op: Op, names: Sequence[str | None], type_: TensorType) -> str:
        """Add a node; returns the value that it makes."""
        if self._is_spoiled:
            return ""
        builder, operator = self._site.importer.builder, self._site.operator
        made = builder.value(builder.unique(f"{operator.code.lower()}_{operator.index}_{self._count}"), type_)
        op.check([None if name is None else builder.values[name].type for name in names], [type_])
        builder.node(op, tuple(names), [made], name=f"{op.name}_{operator.index}_{self._count}")
        self._count += 1
        return made

    def finish(self, op: Op, names: Sequence[str | None], shape: tuple[int, ...]) -> None:
        self._site.emit_named(op, names, shape)
