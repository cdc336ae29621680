"""Who a piece of code works for: the map from addresses to layers (or to functions) that counting uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.build.sizes import Symbol
from midge.emit.sources import Sources
from midge.emulate.program import Program
from midge.errors import InternalError

MOST_RANGES = 8
"""As many as `native/counter.h` has room for."""


@dataclass(frozen=True, slots=True, eq=False)
class Owners:
    """`table` holds the owner of each halfword, range after range; 0 keeps the current one, k is `names[k - 1]`."""

    ranges: tuple[tuple[int, int], ...]
    """Address and bytes (an even number) of each range of code: that in flash, and what was linked for RAM."""
    table: np.ndarray
    names: tuple[str, ...]
    first: int
    """The owner when counting begins."""

    def place(self, address: int) -> int | None:
        """Where the table has the halfword at this address."""
        return _place(self.ranges, address)


def layer_owners(program: Program, sources: Sources) -> Owners:
    """The layers of a network, and last the schedule: the run function itself.

    Functions that layers share have no owner: they work for the layer that called them. A layer without a function
    has no code, and so no instructions: a compiler removes the function, and its calls, where the bytes it would write
    are those that lie there already (an identity that overwrites its operand).
    """
    names = (*(layer.name for layer in sources.layers), "schedule")
    symbols = (*(layer.symbol for layer in sources.layers), sources.run_symbol)
    parts: dict[str, list[Symbol]] = {}
    for function in program.functions:
        # GCC gives pieces and copies of a function names such as `layer.part.0` or `layer.constprop.0`.
        parts.setdefault(function.name.split(".")[0], []).append(function)
    if sources.run_symbol not in parts:
        raise InternalError(str(program.path), f"no function {sources.run_symbol}", "the function that runs the layers")
    ranges, table = _empty(program)
    for owner, symbol in enumerate(symbols, 1):
        for function in parts.get(symbol, ()):
            _mark(table, ranges, function, owner)
    return Owners(ranges, table, names, first=len(names))


def function_owners(program: Program) -> Owners:
    """Each function its own owner, and last the code that belongs to none."""
    names = (*(function.name for function in program.functions), "(no function)")
    ranges, table = _empty(program)
    table[:] = len(names)
    for owner, function in enumerate(program.functions, 1):
        _mark(table, ranges, function, owner)
    return Owners(ranges, table, names, first=len(names))


def _empty(program: Program) -> tuple[tuple[tuple[int, int], ...], np.ndarray]:
    """The code of each segment that has functions, that with most of them first."""
    found: list[list[Symbol]] = []
    for segment in program.segments:
        inside = [f for f in program.functions if 0 <= f.address - segment.address < len(segment.data)]
        if inside:
            found.append(inside)
    if not found:
        raise InternalError(str(program.path), "no symbols of functions", "a firmware that is not stripped")
    found = sorted(found, key=len, reverse=True)[:MOST_RANGES]
    ends = [max(function.address + function.bytes for function in inside) for inside in found]
    ranges = tuple((f[0].address, (end - f[0].address + 1) // 2 * 2) for f, end in zip(found, ends, strict=True))
    return ranges, np.zeros(sum(count for _, count in ranges) // 2, np.uint16)


def _place(ranges: tuple[tuple[int, int], ...], address: int) -> int | None:
    first = 0
    for base, count in ranges:
        if 0 <= address - base < count:
            return (first + address - base) // 2
        first += count
    return None


def _mark(table: np.ndarray, ranges: tuple[tuple[int, int], ...], function: Symbol, owner: int) -> None:
    start = _place(ranges, function.address)
    if start is not None:
        table[start : start + (function.bytes + 1) // 2] = owner
