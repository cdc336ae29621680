"""Planning: Graph and board in, Plan out (kernels, schedule of rows, places in RAM)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from midge.errors import InternalError
from midge.ir.graph import Graph
from midge.ir.types import DType
from midge.kernels.base import Binding, Kernel, Layout
from midge.plan.arena import ALIGN_BYTES, Request, aligned, pack
from midge.plan.choose import bind_kernels
from midge.plan.copies import insert_copies, root_value
from midge.plan.costs import Costs, shipped_costs
from midge.plan.order import Schedule, live_peak, schedule
from midge.plan.records import Action, Buffer, Kind, Plan, PlanOptions, Task, row_stride
from midge.plan.spend import choose_kernels
from midge.plan.storage import Network, build_network
from midge.targets.records import Board, Core

__all__ = ["ALIGN_BYTES", "Action", "Buffer", "Kind", "Plan", "PlanOptions", "Task", "plan"]

_MOST_SCHEDULES = 300
_MOST_ROUNDS = 4
_PARTS_FOR_SCRATCH = (1, 1 / 8, 1 / 32, 0)
"""Of the RAM, what one layer's faster kernel may have as scratch memory: less where a plan with more has no room."""


def plan(graph: Graph, board: Board, options: PlanOptions, pinned: Mapping[str, Kernel] | None = None,
         costs: Costs | None = None) -> Plan:  # fmt: skip
    """Choose kernels (but for the nodes in `pinned`), the order of rows, rings or whole tensors, and offsets.

    Kernels are chosen by `costs` (those that ship, if none are given): the fastest ones that the flash is worth
    (`spend.py`). All plans take as little RAM as their kernels allow. Optimised for RAM, or where the fastest plan has
    no room in it, one with kernels for rows in their natural layout alone is looked at too, and taken where it needs
    less. Raises UnsupportedError where a node has no kernel. Whether the plan fits the board is not asked here.
    """
    costs = costs or shipped_costs(board)
    room = board.ram.bytes if options.ram_bytes is None else min(options.ram_bytes, board.ram.bytes)
    made = None
    for part in (0,) if options.optimize == "ram" else _PARTS_FOR_SCRATCH:
        made = _planned(graph, board, options, pinned or {}, costs, natural_only=False, most_scratch_bytes=part * room)
        if options.optimize != "ram" and made.arena_bytes <= room:
            return made
    assert made is not None
    narrow = _planned(graph, board, options, pinned or {}, costs, natural_only=True, most_scratch_bytes=0)
    return narrow if narrow.arena_bytes < made.arena_bytes else made


def _planned(graph: Graph, board: Board, options: PlanOptions, pinned: Mapping[str, Kernel], costs: Costs | None, *,
             natural_only: bool, most_scratch_bytes: float) -> Plan:  # fmt: skip
    chosen = None
    if costs is not None:
        chosen = choose_kernels(graph, board, options, costs, pinned, natural_only=natural_only,
                                most_scratch_bytes=most_scratch_bytes)  # fmt: skip
    kernels, expected = chosen or (pinned, None)
    graph, bindings = bind_with_copies(graph, board.core, kernels, natural_only=natural_only)
    network = build_network(graph, bindings)
    return replace(place(graph, board, options, network, _best_schedule(network)), expected=expected)


def bind_with_copies(graph: Graph, core: Core, pinned: Mapping[str, Kernel], *, natural_only: bool = False
                     ) -> tuple[Graph, dict[str, Binding]]:  # fmt: skip
    """Kernels for all nodes, and copies where two kernels do not agree how a value lies in memory."""
    for _ in range(_MOST_ROUNDS):
        bindings = bind_kernels(graph, core, pinned, natural_only=natural_only)
        with_copies = insert_copies(graph, bindings)
        if with_copies is graph:
            return graph, bindings
        graph = with_copies
    raise InternalError(graph.name, "copies do not end", "a copy kernel for each layout that a kernel reads")


def _best_schedule(network: Network) -> Schedule:
    """The schedule with the smallest memory peak: which tensors to hold whole, found by local search.

    Starts from all rings, all whole, and "rings up to here, whole from here on", then changes one tensor
    at a time. Ties go to the schedule with fewer actions.
    """
    candidates = [
        index for index, tensor in enumerate(network.tensors) if tensor.rows > 1 and tensor.producer is not None
    ]
    starts = [frozenset(candidates[cut:]) for cut in range(len(candidates) + 1)]
    best_whole, best = min(
        ((whole, schedule(network, whole)) for whole in starts), key=lambda pair: _cost(network, pair[1])
    )
    tried = len(starts)
    improved = True
    while improved and tried < _MOST_SCHEDULES:
        improved = False
        for index in candidates:
            whole = best_whole ^ {index}
            found = schedule(network, whole)
            tried += 1
            if _cost(network, found) < _cost(network, best):
                best_whole, best, improved = whole, found, True
    return best


def _cost(network: Network, plan: Schedule) -> tuple[int, int]:
    requests = _requests(network, plan)
    sizes = [aligned(request.bytes) for request in requests]
    return live_peak(sizes, [request.spans for request in requests]), len(plan.actions)


def _requests(network: Network, plan: Schedule) -> list[Request]:
    """Memory of all storages, then of all tasks' scratch."""
    requests = [
        Request(
            s.planes * life.height * row_stride(s.layout, s.left + s.right, s.pixel_bytes, s.row_bytes) + s.slack_bytes,
            life.spans,
        )
        for s, life in zip(network.storages, plan.lives, strict=True)
    ]
    requests += [
        Request(binding.scratch_bytes, (span,))
        for binding, span in zip(network.bindings, plan.scratch, strict=True)
        if binding.scratch_bytes
    ]
    return requests


def place(graph: Graph, board: Board, options: PlanOptions, network: Network, order: Schedule) -> Plan:
    requests = _requests(network, order)
    packing = pack(requests)
    buffers = _buffers(graph, network, order, packing.offsets)
    scratch_at = len(network.storages)
    tasks = []
    for node, binding, operands, results in zip(
        network.nodes, network.bindings, network.operands, network.results, strict=True
    ):
        scratch = None
        if binding.scratch_bytes:
            request = requests[scratch_at]
            buffers.append(_scratch(node.name, request, packing.offsets[scratch_at]))
            scratch = scratch_at
            scratch_at += 1
        storages = tuple(None if tensor is None else network.storage_of[tensor] for tensor in operands)
        tasks.append(Task(node, binding, storages, tuple(network.storage_of[t] for t in results), scratch))
    return Plan(
        graph=graph,
        board=board,
        options=options,
        tasks=tuple(tasks),
        buffers=tuple(buffers),
        schedule=order.actions,
        arena_bytes=packing.bytes,
        lower_bound_bytes=packing.lower_bound_bytes,
        proven_minimal=packing.proven_minimal,
        input_buffers=tuple(_buffer_of(graph, network, name) for name in graph.inputs),
        output_buffers=tuple(_buffer_of(graph, network, name) for name in graph.outputs),
    )


def _buffer_of(graph: Graph, network: Network, name: str) -> int:
    root = root_value(graph, name)
    return next(
        network.storage_of[index] for index, tensor in enumerate(network.tensors) if tensor.name == root
    )  # fmt: skip


def _buffers(graph: Graph, network: Network, order: Schedule, offsets: Iterable[int]) -> list[Buffer]:
    outputs = {root_value(graph, name) for name in graph.outputs}
    buffers = []
    for storage, life, offset in zip(network.storages, order.lives, offsets, strict=False):
        names = [network.tensors[tensor].name for tensor in storage.tensors]
        role = "input" if names[0] in graph.inputs else "output" if outputs & set(names) else "edge"
        buffers.append(
            Buffer(
                name=names[-1] if role != "input" else names[0],
                layout=storage.layout,
                rows=network.tensors[storage.tensors[0]].rows,
                row_bytes=storage.row_bytes,
                pixel_bytes=storage.pixel_bytes,
                left=storage.left,
                right=storage.right,
                top=storage.top,
                bottom=storage.bottom,
                fill=storage.fill,
                planes=storage.planes,
                height=life.height,
                slack_bytes=storage.slack_bytes,
                offset=offset,
                spans=life.spans,
                role=role,
            )
        )
    return buffers


def _scratch(name: str, request: Request, offset: int) -> Buffer:
    size = request.bytes
    return Buffer(
        f"{name}_scratch", Layout(DType.UINT8), 1, size, size, 0, 0, 0, 0, 0, 1, 1, 0, offset, request.spans, "scratch",
    )  # fmt: skip
