"""Planning: Graph and board in, Plan out (kernels, schedule of rows, places in RAM)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from midge.errors import InternalError, UnsupportedError
from midge.ir.graph import Graph
from midge.ir.types import DType
from midge.kernels.base import Binding, Kernel, Layout
from midge.plan.arena import ALIGN_BYTES, Request, pack
from midge.plan.choose import LegalBindings, bind_kernels, legal_bindings, spend_flash
from midge.plan.copies import insert_copies, root_value
from midge.plan.estimate import estimated_cycles
from midge.plan.memory import MOST_SLOWER, Bind, MemorySearch, Trial
from midge.plan.order import Schedule
from midge.plan.pushed import is_read_by_rows, refuse_rows, with_copied_input
from midge.plan.records import Action, Buffer, Kind, Plan, PlanOptions, Task
from midge.plan.rings import best_order, memory_requests
from midge.plan.storage import Network, Storage, build_network
from midge.targets.records import Board, Core

__all__ = ["ALIGN_BYTES", "Action", "Buffer", "Kind", "Plan", "PlanOptions", "Task", "plan"]

_EXTRA_FLASH_BYTES = 22_000
"""What weights that are widened already may take more, in all, where latency comes first."""
_STACK_BYTES = 1024
"""What kernels that take more RAM leave of it for the stack."""
_MOST_ROUNDS = 5


def plan(graph: Graph, board: Board, options: PlanOptions, pinned: Mapping[str, Kernel] | None = None) -> Plan:
    """Choose kernels (but for the nodes in `pinned`), the order of rows, rings or whole tensors, and offsets.

    All plans take as little RAM as their kernels allow. Where latency comes first, RAM that is left goes to kernels
    that are faster for more of it. Where RAM comes first, or where the fast plan does not fit a budget or the board,
    other kernels that need less are searched for (`memory.py`). Raises UnsupportedError where a node has no kernel.
    Whether the plan fits the board is not asked here.
    """
    pinned = pinned or {}
    room = board.ram.bytes if options.ram_bytes is None else min(options.ram_bytes, board.ram.bytes)
    by_rows = takes_rows(graph, options)
    found = _searched(graph, board, options, pinned, room, by_rows=by_rows)
    is_open = options.ram_bytes is not None and options.input_by is None and not by_rows
    if is_open and found.arena_bytes > room and refuse_rows(graph) is None:
        return _searched(graph, board, options, pinned, room, by_rows=True)
    return found


def _searched(graph: Graph, board: Board, options: PlanOptions, pinned: Mapping[str, Kernel], room: int, *,
              by_rows: bool) -> Plan:  # fmt: skip
    """The fast plan; or one with less RAM, where that is wanted or where the fast one needs more than there is."""
    core = board.core
    legal: LegalBindings = {}

    def bind(pins: Mapping[str, Kernel], *, natural_only: bool = False) -> tuple[Graph, dict[str, Binding]]:
        both = {**pins, **pinned}
        return bind_with_copies(graph, core, both, natural_only=natural_only, by_rows=by_rows, legal=legal)

    def search(bind: Bind) -> MemorySearch:
        choices = {
            name: [binding.kernel for binding in found]
            for name, found in legal_bindings(graph, core, legal).items()
            if name not in pinned
        }
        cycles = partial(estimated_cycles, core=core)
        return MemorySearch(bind, cycles, choices, graph.inputs if by_rows else ())

    fast = search(bind).first({})
    trial = fast
    if options.optimize == "ram":
        trial = search(bind).least(fast, MOST_SLOWER * fast.cycles)
    if trial.found.peak_bytes > room:
        starts = (trial, search(partial(bind, natural_only=True)).first({}))
        tried = [search(bind).least(start, math.inf, enough_bytes=room) for start in starts]
        trial = min(tried, key=lambda one: (max(one.found.peak_bytes, room), one.cycles))
    elif options.optimize == "latency":
        trial = _with_spent_memory(trial, board, pinned, room)
    return _place(trial.graph, board, options, trial.network, trial.found.order)


def _with_spent_memory(trial: Trial, board: Board, pinned: Mapping[str, Kernel], room: int) -> Trial:
    """The same plan with faster kernels that take more flash, and of the RAM what is left; rows lie as they did."""
    bindings = {node.name: binding for node, binding in zip(trial.network.nodes, trial.network.bindings, strict=True)}

    def spent(most_ram_bytes: int) -> Trial:
        faster = spend_flash(trial.graph, board.core, bindings, _EXTRA_FLASH_BYTES, pinned, most_ram_bytes)
        network = build_network(trial.graph, bindings | faster, pushed=trial.pushed)
        return replace(trial, network=network, found=best_order(network))

    flash_only = spent(0)
    larger = spent(room - flash_only.found.peak_bytes - _STACK_BYTES)
    return larger if larger.found.peak_bytes + _STACK_BYTES <= room else flash_only


def takes_rows(graph: Graph, options: PlanOptions) -> bool:
    """True where the input is pushed by rows: where that is asked for, and where RAM comes first and it can be."""
    reason = refuse_rows(graph)
    if options.input_by == "rows" and reason is not None:
        raise UnsupportedError(graph.name, f"its input can't be pushed by rows: {reason}", "", "Use --input-by frame")
    wanted = options.optimize == "ram" if options.input_by is None else options.input_by == "rows"
    return wanted and reason is None


def bind_with_copies(graph: Graph, core: Core, pinned: Mapping[str, Kernel], *, natural_only: bool = False,
                     by_rows: bool = False, legal: LegalBindings | None = None
                     ) -> tuple[Graph, dict[str, Binding]]:  # fmt: skip
    """Kernels for all nodes, and copies where two kernels do not agree how a value lies in memory."""
    for _ in range(_MOST_ROUNDS):
        bindings = bind_kernels(graph, core, pinned, natural_only=natural_only, legal=legal)
        if by_rows and not is_read_by_rows(graph, bindings, graph.inputs[0]):
            with_copies = with_copied_input(graph, graph.inputs[0])
        else:
            with_copies = insert_copies(graph, bindings)
        if with_copies is graph:
            return graph, bindings
        graph = with_copies
    raise InternalError(graph.name, "copies do not end", "a copy kernel for each layout that a kernel reads")


def _place(graph: Graph, board: Board, options: PlanOptions, network: Network, order: Schedule) -> Plan:
    requests = memory_requests(network, order)
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
        input_rows=sum(network.tensors[storage.tensors[0]].rows for storage in network.storages if storage.is_pushed),
    )


def _buffer_of(graph: Graph, network: Network, name: str) -> int:
    root = root_value(graph, name)
    return next(
        network.storage_of[index] for index, tensor in enumerate(network.tensors) if tensor.name == root
    )  # fmt: skip


def _buffers(graph: Graph, network: Network, order: Schedule, offsets: Iterable[int]) -> list[Buffer]:
    buffers = []
    for storage, life, offset in zip(network.storages, order.lives, offsets, strict=False):
        names = [network.tensors[tensor].name for tensor in storage.tensors]
        role = _role(graph, network, storage)
        buffers.append(
            Buffer(
                name=names[0] if role in ("input", "caller") else names[-1],
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


def _role(graph: Graph, network: Network, storage: Storage) -> str:
    names = {network.tensors[tensor].name for tensor in storage.tensors}
    if storage.is_pushed:
        return "caller"
    if network.tensors[storage.tensors[0]].name in graph.inputs:
        return "input"
    return "output" if names & {root_value(graph, name) for name in graph.outputs} else "edge"


def _scratch(name: str, request: Request, offset: int) -> Buffer:
    size = request.bytes
    return Buffer(
        f"{name}_scratch", Layout(DType.UINT8), 1, size, size, 0, 0, 0, 0, 0, 1, 1, 0, offset, request.spans, "scratch",
    )  # fmt: skip
