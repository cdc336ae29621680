"""Who a piece of code works for: the map from addresses to layers (or to functions) that counting uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.build.sizes import Symbol
from midge.emit.sources import Sources
from midge.emulate.program import Program
from midge.errors import InternalError


@dataclass(frozen=True, slots=True, eq=False)
class Owners:
    """`table[i]` is the owner of the halfword at `base + 2 * i`; 0 keeps the current one, k is `names[k - 1]`."""

    base: int
    table: np.ndarray
    names: tuple[str, ...]
    first: int
    """The owner when counting begins."""


def layer_owners(program: Program, sources: Sources) -> Owners:
    """The layers of a network, and last the schedule: the run function itself.

    Functions that layers share have no owner: they work for the layer that called them.
    """
    names = (*(layer.name for layer in sources.layers), "schedule")
    symbols = (*(layer.symbol for layer in sources.layers), sources.run_symbol)
    parts: dict[str, list[Symbol]] = {}
    for function in program.functions:
        # GCC gives pieces and copies of a function names such as `layer.part.0` or `layer.constprop.0`.
        parts.setdefault(function.name.split(".")[0], []).append(function)
    missing = [symbol for symbol in symbols if symbol not in parts]
    if missing:
        raise InternalError(str(program.path), f"no function {', '.join(missing)}", "a function for each layer")
    base, table = _empty(program)
    for owner, symbol in enumerate(symbols, 1):
        for function in parts[symbol]:
            _mark(table, base, function, owner)
    return Owners(base, table, names, first=len(names))


def function_owners(program: Program) -> Owners:
    """Each function its own owner, and last the code that belongs to none."""
    names = (*(function.name for function in program.functions), "(no function)")
    base, table = _empty(program)
    table[:] = len(names)
    for owner, function in enumerate(program.functions, 1):
        _mark(table, base, function, owner)
    return Owners(base, table, names, first=len(names))


def _empty(program: Program) -> tuple[int, np.ndarray]:
    """The range of the segment with most functions: the code in flash."""
    inside = max(
        ([f for f in program.functions if 0 <= f.address - segment.address < len(segment.data)]
         for segment in program.segments),
        key=len, default=[],
    )  # fmt: skip
    if not inside:
        raise InternalError(str(program.path), "no symbols of functions", "a firmware that is not stripped")
    base = inside[0].address
    end = max(function.address + function.bytes for function in inside)
    return base, np.zeros((end - base + 1) // 2, np.uint16)


def _mark(table: np.ndarray, base: int, function: Symbol, owner: int) -> None:
    start = (function.address - base) // 2
    if 0 <= start < len(table):
        table[start : start + (function.bytes + 1) // 2] = owner
