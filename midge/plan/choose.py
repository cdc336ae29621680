"""The choice of a kernel for each node, and with it of the layout of each value."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.kernels import kernels_for
from midge.kernels.base import Binding, Kernel, Layout
from midge.ops.copy import Copy
from midge.ops.reshape import Reshape
from midge.plan.candidates import is_natural
from midge.plan.copies import flat_values, root_value
from midge.targets.records import Core

LegalBindings = dict[Node, tuple[list[Binding], list[str]]]
"""Bindings of all kernels that do not refuse a node, best first, and the reasons of those that do: found once."""


def bind_kernels(graph: Graph, core: Core, pinned: Mapping[str, Kernel], *, natural: Collection[str] = (),
                 legal: LegalBindings | None = None) -> dict[str, Binding]:  # fmt: skip
    """For each node the best kernel, in the core's order, that computes it exactly and writes what its readers want.

    Readers choose first, from the outputs backwards: each takes its best kernel whose operands' producers can write the
    layout that it reads (or whose operand a copy can turn into it). A reshape needs no kernel: it is another view of
    the same bytes. A node that is `pinned` has its kernel, whatever else there is; nodes named in `natural` have
    kernels for rows in their natural layout alone. Raises UnsupportedError that names every node without a kernel, with
    each kernel's reason.
    """
    listed = legal_bindings(graph, core, {} if legal is None else legal, pinned)
    listed |= {name: [binding for binding in listed[name] if is_natural(binding)] for name in natural if name in listed}
    writable = _writable_layouts(graph, listed)
    first, wishes = _chosen(graph, listed, writable, {})
    return _chosen(graph, listed, writable, wishes)[0] if wishes else first


def _chosen(graph: Graph, legal: Mapping[str, list[Binding]], writable: Mapping[str, list[Layout]],
            wishes: Mapping[str, list[Layout]]) -> tuple[dict[str, Binding], dict[str, list[Layout]]]:  # fmt: skip
    """Bindings, and the layouts that readers of each value want; `wishes` are those of an earlier round.

    Of bindings that write what is wanted, one whose operands lie as their other readers want them goes first.
    """
    wanted: dict[str, list[Layout]] = {}
    chosen: dict[str, Binding] = {}
    for node in reversed(graph.nodes):
        if node.name not in legal:
            continue
        layouts = tuple(_agreed(graph, name, wanted, writable) for name in node.outputs)
        fitting = [binding for binding in legal[node.name] if binding.writes == layouts]
        binding = min(
            fitting,
            key=lambda binding: (
                _unwritable(graph, node, binding, writable), _disagreements(graph, node, binding, wishes)
            ),
        )  # fmt: skip
        chosen[node.name] = binding
        for name, reads in zip(node.inputs, binding.reads, strict=True):
            if name is not None and reads is not None:
                wanted.setdefault(root_value(graph, name), []).append(reads.layout)
    return chosen, wanted


def _unwritable(graph: Graph, node: Node, binding: Binding, writable: Mapping[str, list[Layout]]) -> int:
    """Operands that a copy reads otherwise than their producer can write them; other readers get a copy of theirs."""
    if not isinstance(node.op, Copy):
        return 0
    roots = [root_value(graph, name) for name in node.inputs if name is not None]
    return sum(
        reads is not None and reads.layout not in writable.get(root, [Layout(graph.type(root).dtype)])
        for root, reads in zip(roots, binding.reads, strict=True)
    )


def _disagreements(graph: Graph, node: Node, binding: Binding, wishes: Mapping[str, list[Layout]]) -> int:
    """Wishes of an earlier round for the operands that a binding does not share; one of them may be its own."""
    return sum(
        layout != reads.layout
        for name, reads in zip(node.inputs, binding.reads, strict=True)
        if name is not None and reads is not None
        for layout in _others(wishes.get(root_value(graph, name), []))
    )


def _others(layouts: list[Layout]) -> list[Layout]:
    """Wishes that do not stem from one reader alone."""
    return layouts if len(layouts) > 1 else []


def legal_bindings(graph: Graph, core: Core, known: LegalBindings, pinned: Mapping[str, Kernel]
                   ) -> dict[str, list[Binding]]:  # fmt: skip
    """Bindings of all kernels that do not refuse, best first, for each node but the reshapes; of a pinned one its own.

    `known` holds those of graphs with the same values, and gets those that it has not.
    """
    found: dict[str, list[Binding]] = {}
    refusals: list[str] = []
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            continue
        if node.name in pinned:
            found[node.name] = [pinned[node.name].bind(node, graph)]
            continue
        if node not in known:
            known[node] = _legal(node, graph, core)
        bindings, reasons = known[node]
        if not bindings:
            refusals.append(f"{node.name} ({node.op.name}: {'; '.join(reasons) or 'no kernel'})")
        found[node.name] = bindings
    if refusals:
        raise UnsupportedError(
            graph.name,
            f"no kernel on {core.name} for " + ", ".join(refusals),
            cure="docs/numerics.md says what each operator takes",
        )
    return found


def _legal(node: Node, graph: Graph, core: Core) -> tuple[list[Binding], list[str]]:
    reasons: list[str] = []
    bindings: list[Binding] = []
    for kernel in kernels_for(node.op, core.isas):
        reason = kernel.refuse(node, graph, core)
        if reason is None:
            bindings.append(kernel.bind(node, graph))
        else:
            reasons.append(f"{kernel.name}: {reason}")
    return bindings, reasons


def _writable_layouts(graph: Graph, legal: Mapping[str, list[Binding]]) -> dict[str, list[Layout]]:
    """Layouts that the producer of each value can write; the natural one alone where the value must lie flat."""
    natural = flat_values(graph, {name: bindings[-1] for name, bindings in legal.items()})
    writable: dict[str, list[Layout]] = {}
    for node in graph.nodes:
        for position, name in enumerate(node.outputs):
            layouts = [binding.writes[position] for binding in legal.get(node.name, ())]
            flat = [layout for layout in layouts if layout.is_natural] if name in natural else []
            writable[name] = flat or layouts
    return writable


def _agreed(graph: Graph, name: str, wanted: Mapping[str, list[Layout]], writable: Mapping[str, list[Layout]]
            ) -> Layout:  # fmt: skip
    """The layout that all readers of a value want, if its producer can write it; else the natural one."""
    layouts = wanted.get(root_value(graph, name), [])
    if layouts and all(layout == layouts[0] for layout in layouts) and layouts[0] in writable[name]:
        return layouts[0]
    return next((layout for layout in writable[name] if layout.is_natural), writable[name][0])
