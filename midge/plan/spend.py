"""How much memory is spent on speed: the price of a byte, in cycles.

Without budgets prices follow from the network itself: a hundredth more flash (or rows in RAM) must bring at least
`WORTH` hundredths fewer cycles, so a byte is worth `WORTH * cycles / bytes` cycles of the plan that comes of it. That
rule knows no units: it asks the same of a small network and of a large one, of a slow core and of a fast one. Nor is
more flash spent than an interpreter would take. With a flash budget the fastest plan inside it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from midge.ir.graph import Graph
from midge.kernels.base import Kernel
from midge.plan.assign import Assignment, Prices, assign
from midge.plan.candidates import Candidate, CopyCosts, candidates
from midge.plan.costs import Costs
from midge.plan.records import Expected, PlanOptions
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class Worth:
    """Hundredths of the cycles that a hundredth more of a memory must save."""

    flash: float
    ram: float


WORTH = {"latency": Worth(0.05, 0.03), "ram": Worth(0.05, 10.0), "flash": Worth(10.0, 0.03)}
INTERPRETER_BYTES = 64 << 10
"""What an interpreter takes beside the weights: code, and the parts of a model file that hold none. TensorFlow Lite
Micro with CMSIS-NN takes 51 to 54 KB of code on a Cortex-M4 for convolutional networks, and their files are 20 KB
(ResNet-8) to 125 KB larger than their weights (docs/tuning.md)."""
_ROUNDS = 8
_HIGHEST_PRICE = 1e9
"""Cycles for a byte: the plan with the least flash."""

At = Callable[[Prices], Assignment | None]


def choose_kernels(graph: Graph, board: Board, options: PlanOptions, costs: Costs, pinned: Mapping[str, Kernel], *,
                   natural_only: bool = False, most_scratch_bytes: float = math.inf
                   ) -> tuple[dict[str, Kernel], Expected] | None:  # fmt: skip
    """A kernel for each node; None where a node has none, or where rows would need copies that no kernel makes.

    Where the least flash is still more than there is, the plan with the least flash is taken.
    """
    listed = candidates(graph, board.core, costs, natural_only=natural_only, most_scratch_bytes=most_scratch_bytes,
                        shares_code=options.shares_code)  # fmt: skip
    for node in graph.nodes:
        if node.name in pinned and node.name in listed:
            listed[node.name] = [Candidate(pinned[node.name].bind(node, graph), 0, 0, 0)]
    if not all(listed.values()):
        return None
    copies = CopyCosts(board.core, costs)
    limit = board.flash.bytes if options.most_flash_bytes is None else options.most_flash_bytes
    found, is_limited = spend(lambda prices: assign(graph, listed, copies, prices), options, limit)
    if found is None:
        return None
    kernels = {name: binding.kernel for name, binding in found.bindings.items()}
    return kernels, Expected(found.cycles, found.flash_bytes, is_limited)


def flash_limit(constant_bytes: int, board: Board, options: PlanOptions) -> int:
    """The most flash that a network with these constants may take for the sake of speed."""
    if options.flash_bytes is not None:
        return min(options.flash_bytes, board.flash.bytes)
    return min(board.flash.bytes, INTERPRETER_BYTES + constant_bytes)


def spend(at: At, options: PlanOptions, limit: float) -> tuple[Assignment | None, bool]:
    """The assignment at the prices that the rule above gives, or at a higher one of flash, so that the limit holds.

    And whether it was the limit that decided.
    """
    found = at(Prices(0, 0))
    if found is None:
        return None, False
    worth = WORTH[options.optimize]
    if options.flash_bytes is not None and options.optimize != "flash":
        worth = Worth(0, worth.ram)
    prices, found = _worth(at, found, worth)
    if found.flash_bytes <= limit:
        return found, False
    return _within(at, found, prices, limit), True


def _worth(at: At, found: Assignment, worth: Worth) -> tuple[Prices, Assignment]:
    """The prices that are `worth` times the cycles for a byte of the plan that they lead to."""
    prices = Prices(0, 0)
    for _ in range(_ROUNDS):
        flash = worth.flash * found.cycles / max(found.flash_bytes, 1)
        ram = worth.ram * found.cycles / max(found.ring_bytes, 1)
        if abs(flash - prices.flash) <= 0.01 * flash and abs(ram - prices.ram) <= 0.01 * ram:
            break
        prices = Prices(flash, ram)
        found = at(prices) or found
    return prices, found


def _within(at: At, found: Assignment, prices: Prices, limit: float) -> Assignment:
    """The fastest assignment found whose flash is within the limit; the smallest where none is."""

    def at_flash(price: float) -> Assignment:
        return at(Prices(price, prices.ram)) or found

    best = at_flash(_HIGHEST_PRICE)
    if best.flash_bytes > limit:
        return best
    low = high = max(prices.flash, 1e-3 * found.cycles / max(found.flash_bytes, 1))
    while (tried := at_flash(high)).flash_bytes > limit and high < _HIGHEST_PRICE:
        low, high = high, 4 * high
    for _ in range(_ROUNDS):
        if tried.flash_bytes <= limit:
            best = min(best, tried, key=lambda a: a.cycles)
        middle = (low * high) ** 0.5
        tried = at_flash(middle)
        low, high = (middle, high) if tried.flash_bytes > limit else (low, middle)
    return best
