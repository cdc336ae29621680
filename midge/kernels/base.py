"""What a kernel states to the planner and to emission: the row contract (DESIGN section 3)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ir.types import DType, TensorType

if TYPE_CHECKING:
    from midge.kernels.view import TaskView
    from midge.ops.base import Op
    from midge.targets.records import Core


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows lie in memory: elements of `dtype`, pixel after pixel, the channels of a pixel side by side.

    `planes`: channel after channel instead, each channel's rows side by side. `fraction_bits`: a row holds not the
    quantised value q but `(q - zero point) * 2^fraction_bits`, so that padding is 0 (None: q itself). `excess`: a row
    holds `q + excess`, as unsigned bytes.
    """

    dtype: DType
    planes: bool = False
    fraction_bits: int | None = None
    excess: int = 0

    @property
    def is_natural(self) -> bool:
        """The layout of a tensor in a file: what inputs, outputs and portable kernels have."""
        return not self.planes and self.fraction_bits is None and self.excess == 0


@dataclass(frozen=True, slots=True)
class Reads:
    """How a kernel reads one operand: the layout, and the padding that it wants to find round the tensor.

    `left`, `right` count pixels, `top`, `bottom` rows, all filled with the zero point. `over_bytes` says how far
    past the end of a row the kernel may read (values that it then multiplies by zero). `flat`: the rows must lie
    side by side, as one array.
    """

    layout: Layout
    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0
    over_bytes: int = 0
    flat: bool = False

    @property
    def is_padded(self) -> bool:
        return (self.left, self.right, self.top, self.bottom) != (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a kernel: for each operand the first and last row it needs, and how many new rows it makes
    of each result (of one that has fewer rows: all of them).

    Rows count from 0; rows of padding have negative numbers, or numbers past the last row. A step that needs none of
    an operand says `(r, r - 1)`, where r is the first row that later steps need. None stands for an operand that is
    constant or left out.
    """

    needs: tuple[tuple[int, int] | None, ...]
    makes: int


@dataclass(frozen=True, slots=True)
class Binding:
    """A kernel bound to one node: what the planner must know, and nothing about the operator itself."""

    kernel: Kernel
    reads: tuple[Reads | None, ...]
    writes: tuple[Layout, ...]
    steps: tuple[Step, ...]
    scratch_bytes: int = 0
    """Working memory."""
    keeps_scratch: bool = True
    """It lives from the node's first step to its last; else it is anew in each step, and others' between them."""
    in_place: tuple[int, ...] = ()
    """Operands of the result's row shape whose row r is not needed once row r of the result is written."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that layers share: two with the same name must have the same text.

    In C, or in assembly where there is a C `prototype` for it.
    """

    name: str
    text: str
    prototype: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A constant array in flash. Equal arrays of one element type are emitted once."""

    role: str
    data: np.ndarray
    align_bytes: int = 1


@dataclass(frozen=True, slots=True)
class LayerCode:
    """What a kernel emits for a node: shared functions (callees first), constants, and the body of the layer function.

    In `body` the number of the step is `step`, and a constant is named by `TaskView.constant(role)`.
    """

    functions: tuple[Function, ...]
    constants: tuple[Constant, ...]
    body: str


ANY_PITCH = 1 << 30
"""Pixels may lie as far apart as one likes."""
NEAR_PITCH = 512
"""A few pixels are within reach of a store's offset."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A faster kernel in place of another one: what it costs, and an estimate of what it brings."""

    kernel: Kernel
    extra_bytes: int
    """Flash that it takes more."""
    saved_cycles: float
    extra_ram_bytes: int = 0
    """Working memory that it takes more."""


class Kernel(ABC):
    """One implementation of an operator on an instruction set. Instances carry no state."""

    name: str
    """`<op>_<dtype>_<variant>__<isa>`."""
    op: ClassVar[type[Op]]
    shares_only: ClassVar[bool] = False
    """Made for functions that layers share: a candidate where RAM or flash come first, no other time."""
    reads_pitched: ClassVar[bool] = False
    """Operands' pixels may lie further apart than their channels need (`Rows.pixel_bytes`)."""
    most_pitch_bytes: ClassVar[int] = 0
    """So far apart may the result's pixels lie; 0: side by side only."""

    @abstractmethod
    def refuse(self, node: Node, graph: Graph, core: Core) -> str | None:
        """None where the kernel computes this node exactly; else the reason why it can't."""

    @abstractmethod
    def bind(self, node: Node, graph: Graph) -> Binding:
        """The node's row needs under this kernel."""

    def faster(self, node: Node, graph: Graph, core: Core) -> tuple[Offer, ...]:
        """Kernels that read and write the same layouts, and are faster for more flash or RAM."""
        del node, graph, core
        return ()

    def shared_family(self, node: Node, graph: Graph) -> Hashable | None:
        """What is equal in all layers that have one function, when RAM or flash come first; None: it has its own."""
        del node, graph
        return None

    @abstractmethod
    def emit(self, view: TaskView) -> LayerCode:
        """The C code of the node at its place in the plan."""


def row_steps(types: Sequence[TensorType | None], out: TensorType,
              windows: Mapping[int, tuple[int, int, int]]) -> tuple[Step, ...]:  # fmt: skip
    """One step for each output row; operand i needs rows `row * stride - before … + span - 1`.

    `windows[i] = (stride, before, span)`; operands that are not named there have no rows (constants).
    """
    return _row_steps(len(types), tuple(sorted(windows.items())), out.rows)


@lru_cache(maxsize=256)
def _row_steps(count: int, windows: tuple[tuple[int, tuple[int, int, int]], ...], rows: int) -> tuple[Step, ...]:
    """Made once for all kernels of a layer: of tall images there are many."""
    by_operand = dict(windows)

    def need(index: int, row: int) -> tuple[int, int] | None:
        if index not in by_operand:
            return None
        stride, before, span = by_operand[index]
        return row * stride - before, row * stride - before + span - 1

    return tuple(Step(tuple(need(i, row) for i in range(count)), 1) for row in range(rows))
