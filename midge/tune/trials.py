"""Trials: one layer under one kernel, as a network of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from midge.emit import layer_code
from midge.emit.constants import ConstantPool
from midge.ir.graph import Graph, GraphBuilder, Node
from midge.kernels.base import Kernel, LayerCode
from midge.ops.reshape import Reshape
from midge.plan import Plan, PlanOptions, bind_with_copies, place
from midge.plan.candidates import copy_of, legal_kernels, node_costs
from midge.plan.costs import Costs
from midge.plan.order import schedule
from midge.plan.records import Task
from midge.plan.storage import build_network
from midge.targets.records import Board, Region

PREFIX = "trial"
SLOWEST = 2.5
"""Kernels that the shipped table says take so many times the fastest one's cycles are not tried."""
ROOM_BYTES = 4 << 20
"""Of each memory of the board that trials run on; what QEMU's machines have."""
_NOTES = ("memory", "basis", "error")
"""Of a timing table: texts for people."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A node in a graph of its own under a kernel. Trials with equal keys run the same code in the same way."""

    node: str
    kernel: Kernel
    graph: Graph
    key: str
    weight_bytes: int
    functions: tuple[str, ...]
    """Names of the functions that the layer's own one calls, as emitted with PREFIX."""


def trial_board(board: Board) -> Board:
    """The board with room for many layers: the core, caches and wait states are its own."""
    regions = (
        Region("flash", "flash", board.flash.base, ROOM_BYTES),
        Region("ram", "ram", board.ram.base, ROOM_BYTES),
    )
    return replace(board, regions=regions)


def trials(graph: Graph, board: Board, known: Costs | None, settings: str) -> Iterator[Trial]:
    """All trials of a network for a trial board: each node under each kernel that may be the fastest.

    `settings` say what else decides how long code takes: the compiler and its flags.
    """
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            continue
        alone = single_layer(graph, node)
        for kernel in _promising(alone.nodes[0], alone, board, known):
            yield _trial(alone, kernel, board, settings)


def copy_trials(graph: Graph, board: Board, settings: str) -> Iterator[Trial]:
    """Trials of copies between all layouts, of each type that a network's values have."""
    types = {
        (value.type.dtype, value.type.shape): value.type for value in graph.values.values() if not value.is_constant
    }
    for type_ in types.values():
        yield from trials(copy_of(type_)[1], board, None, settings)


def single_layer(graph: Graph, node: Node) -> Graph:
    """The node alone, with its constants; its other operands are the graph's inputs."""
    builder = GraphBuilder(node.name)
    for name in dict.fromkeys(name for name in (*node.inputs, *node.outputs) if name is not None):
        value = graph.values[name]
        builder.value(name, value.type, value.data)
        if name in node.inputs and not value.is_constant:
            builder.inputs.append(name)
    builder.outputs += node.outputs
    builder.nodes.append(node)
    return builder.build()


def _promising(node: Node, graph: Graph, board: Board, known: Costs | None) -> list[Kernel]:
    """Legal kernels without those that are known to be far slower than another one."""
    if known is None:
        return [kernel for kernel, _, _ in legal_kernels(node, graph, board.core)]
    costs = node_costs(node, graph, board.core, known)
    fastest = min((cost.cycles for _, cost in costs.values()), default=0)
    return [
        kernel
        for kernel, cost in costs.values()
        if known.of(node, graph, kernel) is None or cost.cycles <= SLOWEST * fastest
    ]


def _trial(graph: Graph, kernel: Kernel, board: Board, settings: str) -> Trial:
    """The trial of a one-node graph; its key covers all code that runs for the layer, and what it runs on."""
    name = graph.nodes[0].name
    made = trial_plan(graph, board, {name: kernel})
    index, task = next((i, task) for i, task in enumerate(made.tasks) if task.node.name == name)
    code = layer_code(made, task, ConstantPool(PREFIX), index, PREFIX)
    constants = {constant.data.tobytes(): constant.data.nbytes for constant in code.constants}
    functions = tuple(function.name for function in code.functions)
    return Trial(name, kernel, graph, _key(code, made, task, board, settings), sum(constants.values()), functions)


def _key(code: LayerCode, made: Plan, task: Task, board: Board, settings: str) -> str:
    core = board.core
    timing = sorted((name, str(value)) for name, value in core.timing.items() if name not in _NOTES)
    target = [core.name, timing, settings]
    heights = [(made.buffers[i].height, made.buffers[i].stride_bytes) for i in task.inputs if i is not None]
    text = [[function.name, function.text] for function in code.functions]
    parts = [target, text, code.body, len(task.binding.steps), heights, task.binding.kernel.name]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def trial_plan(graph: Graph, board: Board, kernels: Mapping[str, Kernel]) -> Plan:
    """A plan with these kernels, all edges in rings; no search for the smallest arena."""
    graph, bindings = bind_with_copies(graph, board.core, kernels)
    network = build_network(graph, bindings)
    return place(graph, board, PlanOptions(), network, schedule(network, frozenset()))


def joined(parts: Sequence[Trial]) -> tuple[Graph, dict[str, Kernel]]:
    """All trials side by side in one graph, trial i with names that start with `t<i>_`; kernels by node."""
    builder = GraphBuilder(PREFIX)
    for index, trial in enumerate(parts):
        for value in trial.graph.values.values():
            builder.value(f"t{index}_{value.name}", value.type, value.data)
        for node in trial.graph.nodes:
            inputs = [name and f"t{index}_{name}" for name in node.inputs]
            builder.node(node.op, inputs, [f"t{index}_{n}" for n in node.outputs], name=f"t{index}_{node.name}")
        builder.inputs += [f"t{index}_{name}" for name in trial.graph.inputs]
        builder.outputs += [f"t{index}_{name}" for name in trial.graph.outputs]
    return builder.build(), {f"t{index}_{trial.node}": trial.kernel for index, trial in enumerate(parts)}
