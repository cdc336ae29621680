"""All kernels that a node may have, each with its cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from midge.ir.graph import Graph, GraphBuilder, Node
from midge.ir.types import TensorType
from midge.kernels import kernels_for
from midge.kernels.base import Binding, Kernel, Layout, Offer
from midge.ops.copy import Copy
from midge.ops.reshape import Reshape
from midge.plan.costs import Cost, Costs, sizes
from midge.targets.records import Core

_A_HAIR = 0.999
"""What a kernel that no table knows is taken to need of the next one's cycles: KERNELS is in order, best first."""
_GUESS = Cost(1e3, 0, 500)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kernel for one node. `flash_bytes` counts code that equal layers share in parts."""

    binding: Binding
    cycles: float
    flash_bytes: float
    ring_bytes: int
    """RAM of the rows that one step reads and writes, and scratch memory: what the kernel keeps alive while it runs."""
    code: Hashable = None
    """What is equal in layers that share their code, whatever their number."""
    code_bytes: float = 0
    """Of that code, shared or not."""
    weight_bytes: float = 0


def legal_kernels(node: Node, graph: Graph, core: Core) -> list[tuple[Kernel, Offer | None, Kernel | None]]:
    """Kernels that do not refuse, in the core's order, each followed by what it offers: (kernel, offer, by whom)."""
    found: list[tuple[Kernel, Offer | None, Kernel | None]] = []
    seen: set[str] = set()
    for kernel in kernels_for(node.op, core.isas):
        if kernel.refuse(node, graph, core) is not None:
            continue
        offers = [(offer.kernel, offer, kernel) for offer in kernel.faster(node, graph, core)]
        for entry in ((kernel, None, None), *offers):
            if entry[0].name not in seen and (entry[1] is None or entry[0].refuse(node, graph, core) is None):
                seen.add(entry[0].name)
                found.append(entry)
    return found


def node_costs(node: Node, graph: Graph, core: Core, costs: Costs) -> dict[str, tuple[Kernel, Cost]]:
    """Legal kernels of a node by name, each with its cost.

    A kernel that nothing is known of costs what its offer says; else a hair less than the next one in the core's
    order, because the order is best first.
    """
    return _with_costs(legal_kernels(node, graph, core), node, graph, costs)


def _with_costs(entries: Sequence[tuple[Kernel, Offer | None, Kernel | None]], node: Node, graph: Graph, costs: Costs
                ) -> dict[str, tuple[Kernel, Cost]]:  # fmt: skip
    known = {kernel.name: costs.of(node, graph, kernel) for kernel, _, _ in entries}
    plain = [kernel.name for kernel, offer, _ in entries if offer is None]
    found: dict[str, tuple[Kernel, Cost]] = {}
    after: Cost | None = None
    for name in reversed(plain):
        cost = known[name]
        if cost is None:
            base = after or _first_known(plain, known) or _guess(node, graph)
            cost = Cost(base.cycles * _A_HAIR, base.weight_bytes, base.code_bytes)
        known[name] = after = cost
    for kernel, offer, by in entries:
        cost = known[kernel.name]
        if cost is None and offer is not None and by is not None:
            base = known[by.name]
            assert base is not None
            cycles = max(base.cycles - offer.saved_cycles, base.cycles / 4)
            cost = Cost(cycles, base.weight_bytes + offer.extra_bytes, base.code_bytes)
        assert cost is not None
        found[kernel.name] = (kernel, cost)
    return found


def _first_known(names: Sequence[str], known: Mapping[str, Cost | None]) -> Cost | None:
    return next((cost for name in names if (cost := known[name]) is not None), None)


def _guess(node: Node, graph: Graph) -> Cost:
    """Of an operator that no table knows: only the order among its kernels comes of it."""
    found = sizes(node, graph)
    return Cost(_GUESS.cycles + 5 * found["macs"] + 10 * found["results"], found["weights"], _GUESS.code_bytes)


def candidates(graph: Graph, core: Core, costs: Costs, *, natural_only: bool = False,
               most_scratch_bytes: float = math.inf, shares_code: bool = False
               ) -> dict[str, list[Candidate]]:  # fmt: skip
    """Candidates of each node but the reshapes. A node without any has an empty list.

    Of kernels that are offered because they are faster, those with more scratch memory are left out. `shares_code`: RAM
    or flash come first, so layers of one operator share functions where the kernel can.
    """
    kinds = Counter(kind_of(node, graph) for node in graph.nodes)
    operators = Counter(type(node.op) for node in graph.nodes)
    found: dict[str, list[Candidate]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            continue
        entries = [one for one in legal_kernels(node, graph, core) if shares_code or not one[0].shares_only]
        offered = {kernel.name for kernel, offer, _ in entries if offer is not None}
        listed = []
        for kernel, cost in _with_costs(entries, node, graph, costs).values():
            binding = kernel.bind(node, graph)
            is_modest = kernel.name not in offered or binding.scratch_bytes <= most_scratch_bytes
            if is_modest and (not natural_only or is_natural(binding)):
                family = kernel.shared_family(node, graph) if shares_code else None
                parts = kinds[kind_of(node, graph)] if family is None else operators[type(node.op)]
                code = (kernel.name, kind_of(node, graph)) if family is None else (node.op.name, family)
                flash_bytes = cost.weight_bytes + cost.code_bytes / parts
                listed.append(Candidate(binding, cost.cycles, flash_bytes, ring_bytes(node, graph, binding), code,
                                        cost.code_bytes, cost.weight_bytes))  # fmt: skip
        found[node.name] = listed
    return found


def is_natural(binding: Binding) -> bool:
    """True where all rows lie as in the file."""
    return all(reads is None or reads.layout.is_natural for reads in binding.reads) and all(
        layout.is_natural for layout in binding.writes
    )


def ring_bytes(node: Node, graph: Graph, binding: Binding) -> int:
    """The rows that one step reads and writes, in their layouts, and scratch memory."""
    total = binding.scratch_bytes
    for index, (name, reads) in enumerate(zip(node.inputs, binding.reads, strict=True)):
        if name is None or reads is None:
            continue
        type_ = graph.type(name)
        spans = [needs[1] - needs[0] + 1 for step in binding.steps if (needs := step.needs[index]) is not None]
        columns = type_.columns + reads.left + reads.right
        total += max(spans, default=0) * columns * type_.channels * reads.layout.dtype.bytes
    made = max((step.makes for step in binding.steps), default=0)
    for name, layout in zip(node.outputs, binding.writes, strict=True):
        total += made * graph.type(name).row_elements * layout.dtype.bytes
    return total


def kind_of(node: Node, graph: Graph) -> tuple[object, ...]:
    """What layers that share their code have in common."""
    types = (*graph.input_types(node), *graph.output_types(node))
    return node.op, tuple(None if type_ is None else (type_.dtype, type_.shape) for type_ in types)


class CopyCosts:
    """Costs of copies between layouts, of one core."""

    def __init__(self, core: Core, costs: Costs) -> None:
        self._core, self._costs = core, costs
        self._known: dict[tuple[TensorType, Layout, Layout], Cost | None] = {}

    def of(self, type_: TensorType, source: Layout, result: Layout) -> Cost | None:
        """By the cheapest kernel, or by way of the natural layout; None where there is no way."""
        key = (type_, source, result)
        if key not in self._known:
            found = self._direct(*key)
            if found is None and not source.is_natural and not result.is_natural:
                natural = Layout(type_.dtype)
                first, second = self._direct(type_, source, natural), self._direct(type_, natural, result)
                if first is not None and second is not None:
                    found = Cost(*(getattr(first, name) + getattr(second, name)
                                   for name in ("cycles", "weight_bytes", "code_bytes")))  # fmt: skip
            self._known[key] = found
        return self._known[key]

    def _direct(self, type_: TensorType, source: Layout, result: Layout) -> Cost | None:
        node, graph = copy_of(type_)
        fitting = [
            cost
            for kernel, cost in node_costs(node, graph, self._core, self._costs).values()
            if (binding := kernel.bind(node, graph)).writes == (result,)
            and binding.reads[0] is not None
            and binding.reads[0].layout == source
        ]
        return min(fitting, key=lambda cost: cost.cycles, default=None)


def copy_of(type_: TensorType) -> tuple[Node, Graph]:
    """A graph that copies one tensor."""
    builder = GraphBuilder("copy")
    add = partial(builder.value, type_=type_)
    builder.inputs.append(add("x"))
    node = builder.node(Copy(), ["x"], [add("y")])
    builder.outputs.append("y")
    return node, builder.build()
