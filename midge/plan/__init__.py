"""Planning: Graph and board in, Plan out (kernels, schedule of rows, places in RAM)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from midge.errors import InternalError, UnsupportedError
from midge.ir.graph import Graph
from midge.ir.types import DType
from midge.kernels.base import Binding, Kernel, Layout
from midge.plan.arena import ALIGN_BYTES, Request, pack
from midge.plan.bound import least_bytes
from midge.plan.choose import LegalBindings, bind_kernels, legal_bindings
from midge.plan.copies import insert_copies, root_value
from midge.plan.costs import Costs, shipped_costs
from midge.plan.estimate import EstimatedCosts
from midge.plan.leave import moves_of, price_of_moves, settled
from midge.plan.memory import MemorySearch
from midge.plan.order import Schedule
from midge.plan.pushed import is_read_by_rows, refuse_rows, with_copied_input
from midge.plan.records import Action, Buffer, Expected, Kind, Plan, PlanOptions, Task
from midge.plan.rings import best_order, memory_requests
from midge.plan.score import RAM_WORTH, Score, judge
from midge.plan.spend import WORTH, choose_kernels
from midge.plan.storage import Network, Storage, build_network
from midge.plan.views import Place
from midge.targets.records import Board, Core

__all__ = ["ALIGN_BYTES", "SHARED_CYCLES", "Action", "Buffer", "Kind", "Plan", "PlanOptions", "Task", "plan"]

_MOST_ROUNDS = 5
SHARED_CYCLES = 1.15
"""What functions for layers of all sizes take, where functions of their own, by which most tables are made, take 1."""
_PARTS_FOR_SCRATCH = (1, 1 / 8, 1 / 32, 0)
"""Of the RAM, what one layer's faster kernel may have as scratch memory: less where a plan with more has no room."""


def plan(graph: Graph, board: Board, options: PlanOptions, pinned: Mapping[str, Kernel] | None = None,
         costs: Costs | None = None) -> Plan:  # fmt: skip
    """Choose kernels (but for the nodes in `pinned`), the order of rows, rings or whole tensors, and offsets.

    Kernels are chosen by `costs` (those that ship, if none are given): the fastest ones that the memory they take is
    worth (`spend.py`). All plans take as little RAM as their kernels allow. Where RAM comes first, or where that plan
    does not fit a budget or the board, kernels that need less are searched for (`memory.py`). Raises UnsupportedError
    where a node has no kernel. Whether the plan fits the board is not asked here.
    """
    pinned = pinned or {}
    costs = costs or shipped_costs(board)
    room = board.ram.bytes if options.ram_bytes is None else min(options.ram_bytes, board.ram.bytes)
    by_rows = takes_rows(graph, options)
    if options.optimize == "ram":
        return _searched(graph, board, options, pinned, costs, room, by_rows=by_rows)
    # Working memory is what a tight budget can spare first, then a frame.
    spares = options.ram_bytes is not None and options.input_by is None and refuse_rows(graph) is None
    for rows in (by_rows, True) if spares and not by_rows else (by_rows,):
        for part in _PARTS_FOR_SCRATCH:
            made = _priced(graph, board, options, pinned, costs, by_rows=rows, most_scratch_bytes=part * room)
            if made.arena_bytes <= room:
                return made
        by_rows = rows
    return _searched(graph, board, options, pinned, costs, room, by_rows=by_rows)


def _priced(graph: Graph, board: Board, options: PlanOptions, pinned: Mapping[str, Kernel], costs: Costs | None, *,
            by_rows: bool, most_scratch_bytes: float) -> Plan:  # fmt: skip
    """The plan whose kernels are the cheapest ones, at the prices of memory of what comes first.

    Where a limit of flash costs cycles, layers share functions if that costs less.
    """
    chosen = None
    if costs is not None:
        chosen = choose_kernels(graph, board, options, costs, pinned, most_scratch_bytes=most_scratch_bytes)
        if chosen is not None and chosen[1].is_limited and _may_share(options):
            sharing = replace(options, sharing=True)
            shared = choose_kernels(graph, board, sharing, costs, pinned, most_scratch_bytes=most_scratch_bytes)
            if shared is not None and SHARED_CYCLES * shared[1].cycles < chosen[1].cycles:
                chosen, options = shared, sharing
    kernels, expected = chosen or (pinned, None)
    graph, bindings = bind_with_copies(graph, board.core, kernels, by_rows=by_rows)
    moves = moves_of(graph, bindings, graph.inputs if by_rows else (), board.core, costs or EstimatedCosts(board.core))
    cycles = max(1.0, (expected.cycles if expected is not None else math.inf) - sum(moves.cycles.values()))
    room = board.ram.bytes if options.ram_bytes is None else min(options.ram_bytes, board.ram.bytes)
    network, found = settled(moves, None, price_of_moves(room, cycles, WORTH[options.optimize].ram))
    if expected is not None:
        made = sum(moves.cycles.get(node.name, 0) for node in network.nodes)
        expected = replace(expected, cycles=cycles + made)
    return replace(place(graph, board, options, network, found.order), expected=expected)


def _searched(graph: Graph, board: Board, options: PlanOptions, pinned: Mapping[str, Kernel], costs: Costs | None,
              room: int, *, by_rows: bool) -> Plan:  # fmt: skip
    """The plan that is best where RAM comes first, or the fastest with room in a budget that others do not meet."""
    legal: LegalBindings = {}
    flash_room = math.inf if options.flash_bytes is None else options.most_flash_bytes or 0

    def bind(kernels: Mapping[str, Kernel]) -> tuple[Graph, dict[str, Binding]]:
        return bind_with_copies(graph, board.core, kernels, by_rows=by_rows, legal=legal)

    legal_bindings(graph, board.core, legal, pinned)  # names all nodes without a kernel at once
    scoring = judge(room, flash_room, ram_first=options.optimize == "ram")
    pushed = graph.inputs if by_rows else ()
    costs = costs or EstimatedCosts(board.core)
    is_open = _may_share(options) and options.flash_bytes is not None
    tried = [options, replace(options, sharing=True)] if is_open else [options]
    found_by = {
        own.shares_code: MemorySearch(
            graph, board.core, costs, bind, pinned, pushed, scoring, shares_code=own.shares_code
        ).run()
        for own in tried
    }

    def score(own: PlanOptions) -> Score:
        trial = found_by[own.shares_code]
        assert trial is not None
        cycles = trial.cycles * (SHARED_CYCLES if own.shares_code else 1)
        return scoring(trial.found.peak_bytes, cycles, trial.flash_bytes)

    tried = [own for own in tried if found_by[own.shares_code] is not None]
    if not tried:
        graph, bindings = bind(pinned)
        network = build_network(graph, bindings, pushed=pushed)
        return place(graph, board, options, network, best_order(network).order)
    options = min(tried, key=score)
    trial = found_by[options.shares_code]
    assert trial is not None
    expected = Expected(trial.cycles, trial.flash_bytes, options.flash_bytes is not None)
    moves = moves_of(*bind(trial.assigned.kernels), pushed, board.core, costs)
    ram_worth = RAM_WORTH if options.optimize == "ram" else 0.0
    network, found = settled(moves, trial.found, price_of_moves(room, trial.cycles, ram_worth))
    made = place(moves.graph, board, options, network, found.order)
    return replace(made, expected=expected, any_plan_bytes=least_bytes(graph, board.core, pushed))


def _may_share(options: PlanOptions) -> bool:
    """True where latency comes first, and it is left open whether layers share functions."""
    return options.sharing is None and not options.shares_code


def takes_rows(graph: Graph, options: PlanOptions) -> bool:
    """True where the input is pushed by rows: where that is asked for, and where RAM comes first and it can be."""
    reason = refuse_rows(graph)
    if options.input_by == "rows" and reason is not None:
        raise UnsupportedError(graph.name, f"its input can't be pushed by rows: {reason}", "", "Use --input-by frame")
    wanted = options.optimize == "ram" if options.input_by is None else options.input_by == "rows"
    return wanted and reason is None


def bind_with_copies(graph: Graph, core: Core, pinned: Mapping[str, Kernel], *, natural: Collection[str] = (),
                     by_rows: bool = False, legal: LegalBindings | None = None
                     ) -> tuple[Graph, dict[str, Binding]]:  # fmt: skip
    """Kernels for all nodes, and copies where two kernels do not agree how a value lies in memory."""
    for _ in range(_MOST_ROUNDS):
        bindings = bind_kernels(graph, core, pinned, natural=natural, legal=legal)
        if by_rows and not is_read_by_rows(graph, bindings, graph.inputs[0]):
            with_copies = with_copied_input(graph, graph.inputs[0])
        else:
            with_copies = insert_copies(graph, bindings)
        if with_copies is graph:
            return graph, bindings
        graph = with_copies
    raise InternalError(graph.name, "copies do not end", "a copy kernel for each layout that a kernel reads")


def place(graph: Graph, board: Board, options: PlanOptions, network: Network, order: Schedule) -> Plan:
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
        storages = tuple(network.storage_of[operand[0]] if operand else None for operand in operands)
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
        input_rows=sum(storage.rows for storage in network.storages if storage.is_pushed),
        state_buffers=tuple(
            (_buffer_of(graph, network, state.before), _buffer_of(graph, network, state.after))
            for state in graph.states
        ),
        places=_places(network),
    )


def _buffer_of(graph: Graph, network: Network, name: str) -> int:
    return network.storage_of_value(root_value(graph, name))


def _places(network: Network) -> dict[str, Place]:
    """Of values that lie within another one, and of those that are overwritten by such a one."""
    places = {name: place for name, (_, place) in network.views.bases.items()}
    return places | {tensor.name: tensor.place for tensor in network.tensors if tensor.place != Place()}


def _buffers(graph: Graph, network: Network, order: Schedule, offsets: Iterable[int]) -> list[Buffer]:
    buffers = []
    for storage, life, offset in zip(network.storages, order.lives, offsets, strict=False):
        role = _role(graph, network, storage)
        buffers.append(
            Buffer(
                name=network.tensors[storage.tensors[0]].name if role in ("input", "caller") else storage.name,
                layout=storage.layout,
                rows=storage.rows,
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
    if names & {state.before for state in graph.states}:
        return "state"
    outputs = {network.views.base(root_value(graph, name)) for name in graph.outputs}
    return "output" if (names | {storage.name}) & outputs else "edge"


def _scratch(name: str, request: Request, offset: int) -> Buffer:
    size = request.bytes
    return Buffer(
        f"{name}_scratch", Layout(DType.UINT8), 1, size, size, 0, 0, 0, 0, 0, 1, 1, 0, offset, request.spans, "scratch",
    )  # fmt: skip
