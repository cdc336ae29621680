"""A task as its kernel's code sees it: addresses of rows, names of constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType
from midge.targets.records import Core

if TYPE_CHECKING:
    from midge.kernels.base import Kernel

PUSHED_ROW = "row"
"""The parameter of a layer function that the caller's row comes in."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one operand or result: where row r lies, as C text."""

    arena: str
    type: TensorType
    dtype: DType
    offset: int
    stride_bytes: int
    height: int
    padded_rows: int
    top: int
    left_bytes: int
    pixel_bytes: int
    plane_bytes: int
    """Bytes from a row to the same row of the next channel, where the layout is in planes."""
    is_constant_pointer: bool
    is_pushed: bool = False
    """The row that the caller has just pushed is the only one; it may lie at any address."""

    @property
    def pitch(self) -> int:
        """Elements from a pixel to the next one, where the layout is not in planes."""
        return self.pixel_bytes // self.dtype.bytes

    @property
    def pitch_key(self) -> str:
        """What the name of a function says of pixels that lie apart."""
        return "" if self.pitch <= self.type.channels else f"p{self.pitch}"

    def at(self, scale: int, offset: int, *, before: int = 0) -> str:
        """Pointer to row `step * scale + offset`, `before` pixels left of its first pixel."""
        return self.at_row(linear(scale, offset + self.top), before=before, top=0)

    def at_row(self, row: str, *, before: int = 0, top: int | None = None) -> str:
        """Pointer to the row of which `row` is the C expression (unsigned)."""
        if self.is_pushed:
            return self._cast(PUSHED_ROW)
        top = self.top if top is None else top
        start = self.offset + self.left_bytes - before * self.pixel_bytes
        base = f"{self.arena} + {start}u" if start else self.arena
        row = f"{row} + {top}u" if top else row
        if self.height == 1 or row == "0u":
            return self._cast(base)
        if self.height < self.padded_rows:
            row = f"({row}) % {self.height}u"
        elif not row.isidentifier() and not row.isdigit():
            row = f"({row})"
        return self._cast(f"{base} + {row} * {self.stride_bytes}u")

    def ring(self, before: int) -> str:
        """Pointer to the ring's first row, `before` pixels left of its first pixel."""
        start = self.offset + self.left_bytes - before * self.pixel_bytes
        return f"{self.arena} + {start}u"

    def whole(self) -> str:
        """Pointer to the first row of a buffer whose rows lie side by side."""
        return self.at_row("0u")

    def _cast(self, address: str) -> str:
        const = "const " if self.is_constant_pointer else ""
        return f"({const}{c_element(self.dtype)} *)({address})"


@dataclass(frozen=True, slots=True)
class TaskView:
    """What `Kernel.emit` gets."""

    prefix: str
    """What external names of the network start with."""
    core: Core
    node: Node
    graph: Graph
    inputs: tuple[Rows | None, ...]
    outputs: tuple[Rows, ...]
    scratch: str
    """C expression (uint8_t *) of the scratch memory; empty where there is none."""
    steps: int
    constant: Callable[[str], str]
    """The C name of this layer's constant with a role."""
    most_loop_bytes: int = 1 << 30
    """How much code a loop may be unrolled to: less where RAM or flash come before latency."""
    peers: tuple[tuple[Node, Kernel], ...] = ()
    """All nodes of the plan with their kernels, where RAM or flash come first: then kernels write one function for all
    that can share it. Empty where each layer has code of its own."""

    @property
    def x(self) -> Rows:
        """The first operand."""
        rows = self.inputs[0]
        assert rows is not None
        return rows

    @property
    def y(self) -> Rows:
        """The first result."""
        return self.outputs[0]


def pitch_key(view: TaskView) -> str:
    """What the name of a function says where the first operand's pixels, or the result's, lie apart."""
    x, y = (rows.pitch_key if rows is not None else "" for rows in (view.inputs[0], view.y))
    return (x and f"x{x}") + (y and f"y{y}")


def c_element(dtype: DType) -> str:
    """The C type that elements in the arena are accessed by: wider ones may alias the arena's bytes."""
    if dtype in (DType.INT8, DType.UINT8, DType.BOOL):
        return dtype.c_name
    return f"midge_{dtype.suffix}"


def linear(scale: int, offset: int) -> str:
    """`step * scale + offset` in C, as short as can be."""
    if scale == 0:
        return f"{offset}u"
    text = "step" if scale == 1 else f"step * {scale}u"
    if offset < 0:
        return f"{text} - {-offset}u"
    return f"{text} + {offset}u" if offset else text
