"""The choice of a kernel for each node."""

from __future__ import annotations

from midge.errors import UnsupportedError
from midge.ir.graph import Graph, Node
from midge.kernels import kernels_for
from midge.kernels.base import Kernel
from midge.ops.reshape import Reshape
from midge.targets.records import Core


def choose_kernels(graph: Graph, core: Core) -> dict[str, Kernel]:
    """The first kernel, in the core's order of instruction sets, that computes each node exactly.

    A reshape needs none: it is another view of the same bytes. Raises UnsupportedError that names every node
    without a kernel, with each kernel's reason.
    """
    chosen: dict[str, Kernel] = {}
    refusals: list[str] = []
    for node in graph.nodes:
        if isinstance(node.op, Reshape):
            continue
        kernel, reasons = _first_legal(node, graph, core)
        if kernel is None:
            refusals.append(f"{node.name} ({node.op.name}: {'; '.join(reasons) or 'no kernel'})")
        else:
            chosen[node.name] = kernel
    if refusals:
        raise UnsupportedError(
            graph.name,
            f"no kernel on {core.name} for " + ", ".join(refusals),
            cure="docs/numerics.md says what each operator takes",
        )  # fmt: skip
    return chosen


def _first_legal(node: Node, graph: Graph, core: Core) -> tuple[Kernel | None, list[str]]:
    reasons: list[str] = []
    for kernel in kernels_for(node.op, core.isas):
        reason = kernel.refuse(node, graph, core)
        if reason is None:
            return kernel, reasons
        reasons.append(f"{kernel.name}: {reason}")
    return None, reasons
