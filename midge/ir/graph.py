"""The Graph: a frozen, typed data-flow graph in execution order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from midge.ir.types import TensorType

if TYPE_CHECKING:
    from midge.ops.base import Op


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor of the graph; a constant where `data` is not None (then read-only, of the type's shape and dtype)."""

    name: str
    type: TensorType
    data: np.ndarray | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. `inputs` name values (None: an optional operand left out), `outputs` name the values it makes."""

    name: str
    op: Op
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What lives from one inference to the next: the value `after` of one is the value `before` of the next.

    `before` has no producer; `initial` (read-only, of its type) is what it holds after a reset. Both values have one
    type.
    """

    before: str
    after: str
    initial: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Values by name, nodes in execution order, the names of the graph's inputs and outputs, and its states.

    Built by `GraphBuilder` only, which verifies it (`midge.ir.verify`).
    """

    name: str
    values: Mapping[str, Value]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: tuple[State, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Values that are there before the first node runs: inputs, and what states hold."""
        return (*self.inputs, *(state.before for state in self.states))

    @property
    def sinks(self) -> tuple[str, ...]:
        """Values that are read after the last node has run: outputs, and what states will hold."""
        return (*self.outputs, *(state.after for state in self.states))

    def type(self, name: str) -> TensorType:
        return self.values[name].type

    def constant(self, name: str | None) -> np.ndarray | None:
        """The data of a constant operand; None where the operand is left out or is no constant."""
        return None if name is None else self.values[name].data

    def producer(self, name: str) -> Node | None:
        """The node that makes a value; None for inputs, states and constants."""
        return next((node for node in self.nodes if name in node.outputs), None)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read a value, in execution order."""
        return tuple(node for node in self.nodes if name in node.inputs)

    def input_types(self, node: Node) -> tuple[TensorType | None, ...]:
        return tuple(None if name is None else self.values[name].type for name in node.inputs)

    def output_types(self, node: Node) -> tuple[TensorType, ...]:
        return tuple(self.values[name].type for name in node.outputs)

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of one node for one inference."""
        return node.op.macs(self.input_types(node), self.output_types(node))

    @property
    def total_macs(self) -> int:
        return sum(self.macs(node) for node in self.nodes)

    def constants(self) -> Iterator[Value]:
        return (value for value in self.values.values() if value.is_constant)


@dataclass(slots=True)
class GraphBuilder:
    """The one mutable form of a graph; `build` freezes and verifies it."""

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    @staticmethod
    def of(graph: Graph) -> GraphBuilder:
        return GraphBuilder(graph.name, dict(graph.values), list(graph.nodes), list(graph.inputs), list(graph.outputs),
                            list(graph.states))  # fmt: skip

    def unique(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`… where values already carry it."""
        if name not in self.values:
            return name
        number = 2
        while f"{name}_{number}" in self.values:
            number += 1
        return f"{name}_{number}"

    def value(self, name: str, type_: TensorType, data: np.ndarray | None = None) -> str:
        """Add a value (a constant where data is given) and return its name."""
        if data is not None:
            data = np.ascontiguousarray(data).reshape(np.shape(data))  # keeps rank 0
            data.flags.writeable = False
        self.values[name] = Value(name, type_, data)
        return name

    def state(self, before: str, after: str, initial: np.ndarray) -> None:
        """Let the value `before` hold what `after` was in the inference before, and `initial` in the first."""
        initial = np.ascontiguousarray(initial).reshape(np.shape(initial))
        initial.flags.writeable = False
        self.states.append(State(before, after, initial))

    def node(self, op: Op, inputs: list[str | None] | tuple[str | None, ...], outputs: list[str] | tuple[str, ...],
             name: str | None = None) -> Node:  # fmt: skip
        """Append a node; its values must have been added before `build`."""
        node = Node(name or f"{op.name}_{len(self.nodes)}", op, tuple(inputs), tuple(outputs))
        self.nodes.append(node)
        return node

    def build(self) -> Graph:
        """Freeze, verify and return the graph. Raises ModelError where a rule is broken."""
        from midge.ir.verify import verify

        graph = Graph(
            self.name, MappingProxyType(dict(self.values)), tuple(self.nodes), tuple(self.inputs), tuple(self.outputs),
            tuple(self.states),
        )  # fmt: skip
        verify(graph)
        return graph
