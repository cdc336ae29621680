"""The Plan: which kernel makes which rows when, and where every row lies in RAM."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from midge.ir.graph import Graph, Node
from midge.kernels.base import Binding, Layout
from midge.plan.copies import root_value
from midge.plan.views import Place
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What to plan for. Budgets in bytes; None means the board's own memory."""

    optimize: str = "latency"
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    input_by: str | None = None
    """`rows`: pushed row by row; `frame`: written as a whole; None: rows where RAM comes first and it can be."""
    most_flash_bytes: int | None = None
    """What the plan is to take at most, as far as that can be told before it is built; None: the board's flash."""

    sharing: bool | None = None
    """Whether layers of different sizes share functions; None: where RAM or flash come first."""

    @property
    def shares_code(self) -> bool:
        """Layers of different sizes share functions, for some cycles more."""
        return self.optimize != "latency" if self.sharing is None else self.sharing


@dataclass(frozen=True, slots=True)
class Expected:
    """What the costs that a plan was chosen by say of it, without the schedule."""

    cycles: float
    flash_bytes: float
    is_limited: bool
    """True where more flash would have been spent on speed, had there been more."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """The rows of one value (or several that share them): a ring of `height` rows, or all of them.

    Rows are numbered from the first row of padding: row r of the tensor is row `r + top`, and lies in slot
    `(r + top) % height`. A row is `left` pixels of padding, the tensor's row, `right` pixels of padding.
    """

    name: str
    layout: Layout
    rows: int
    row_bytes: int
    pixel_bytes: int
    left: int
    right: int
    top: int
    bottom: int
    fill: int
    """The byte that padding is made of."""
    planes: int
    """How often the rows repeat: once, or for each channel where the layout is in planes."""
    height: int
    slack_bytes: int
    """Bytes after the last row that kernels may read."""
    offset: int
    spans: tuple[tuple[int, int], ...]
    """When it holds something: first and last action of each span."""
    role: str
    """`input`, `output`, `state`, `edge`, `scratch`, or `caller`: a row that is pushed, and takes no memory here."""

    @property
    def stride_bytes(self) -> int:
        return row_stride(self.layout, self.left + self.right, self.pixel_bytes, self.row_bytes)

    @property
    def plane_bytes(self) -> int:
        return self.height * self.stride_bytes

    @property
    def bytes(self) -> int:
        return self.planes * self.plane_bytes + self.slack_bytes

    def is_alive(self, action: int) -> bool:
        """True where the buffer holds something at an action."""
        return any(first <= action <= last for first, last in self.spans)

    @property
    def padded_rows(self) -> int:
        return self.top + self.rows + self.bottom

    @property
    def is_padded(self) -> bool:
        return (self.left, self.right, self.top, self.bottom) != (0, 0, 0, 0)

    @property
    def is_ring(self) -> bool:
        return self.height < self.padded_rows


def row_stride(layout: Layout, padding: int, pixel_bytes: int, row_bytes: int) -> int:
    """Bytes from one row to the next; rows in a layout made for word loads start at words."""
    stride = padding * pixel_bytes + row_bytes
    return stride if layout.is_natural else -(-stride // 4) * 4


class Kind(enum.Enum):
    """What an action does."""

    RUN = "run"
    CLEAR = "clear"
    PAD = "pad"


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of the schedule.

    RUN: step `index` of task `target`. CLEAR: fill buffer `target` with padding. PAD: fill its padded row `index`.
    """

    kind: Kind
    target: int
    index: int


@dataclass(frozen=True, slots=True)
class Task:
    """A node at its place in the plan. Operands and results are indices into `Plan.buffers`."""

    node: Node
    binding: Binding
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    scratch: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph with its kernels, schedule and memory. Tasks are in execution order of their first steps."""

    graph: Graph
    board: Board
    options: PlanOptions
    tasks: tuple[Task, ...]
    buffers: tuple[Buffer, ...]
    schedule: tuple[Action, ...]
    arena_bytes: int
    lower_bound_bytes: int
    """No packing of this schedule can be smaller: the most bytes alive at one action."""
    proven_minimal: bool
    """The packing meets the lower bound, or all packings were searched."""
    input_buffers: tuple[int, ...]
    output_buffers: tuple[int, ...]
    input_rows: int = 0
    """Rows that the one input is pushed by; 0 where inputs are written as a whole."""
    expected: Expected | None = None
    """None where kernels were taken in their order, because there are no costs for the core."""

    any_plan_bytes: int | None = None
    """No other kernels, order of rows or places would take less (`bound.py`); None where there was no search."""

    state_buffers: tuple[tuple[int, int], ...] = ()
    """Of each state: what it holds, and what is copied there after the last action."""

    places: Mapping[str, Place] = field(default_factory=dict)
    """Where values lie in their buffer that are parts of another one."""

    def offset_of(self, name: str, buffer: int) -> int:
        """Where an input, output or state begins in the arena: values that lie side by side."""
        holder, place = self.buffers[buffer], self.places.get(root_value(self.graph, name), Place())
        inside = place.column * holder.pixel_bytes + place.channel * holder.layout.dtype.bytes
        if place.element is not None:
            return holder.offset + place.element * holder.layout.dtype.bytes
        return holder.offset + place.row * holder.stride_bytes + inside

    @property
    def state_bytes(self) -> int:
        """RAM that keeps its contents from one inference to the next."""
        return sum(self.graph.type(state.before).bytes for state in self.graph.states)

    @property
    def kernels(self) -> tuple[tuple[str, str], ...]:
        """The name of each node and of its kernel, in order."""
        return tuple((task.node.name, task.binding.kernel.name) for task in self.tasks)

    def largest_buffers(self, count: int = 5) -> tuple[Buffer, ...]:
        """The buffers alive at the action that needs the most memory, largest first."""
        peak = max(range(max(len(self.schedule), 1)), key=self.live_bytes)
        alive = [buffer for buffer in self.buffers if buffer.is_alive(peak)]
        return tuple(sorted(alive, key=lambda buffer: -buffer.bytes)[:count])

    def live_bytes(self, action: int) -> int:
        """Bytes of all buffers alive at an action."""
        return sum(buffer.bytes for buffer in self.buffers if buffer.is_alive(action))
