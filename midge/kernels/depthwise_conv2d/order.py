"""The order of a block's loads and products for a core, with registers given out as they get free."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from midge.errors import InternalError
from midge.kernels.assembly import Assembly


@dataclass(frozen=True, slots=True)
class Load:
    """A word into a register: its address, and instructions that must come before. A first one without an address is
    in the first register already.

    Of some words two values are made, the second one named `second`: `split` are the instructions, for `{first}`, which
    is where the word is, and `{second}`.
    """

    name: str
    address: str
    before: tuple[str, ...] = ()
    second: str = ""
    split: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """Adds a product of two loaded words to the sum of a pixel."""

    instruction: str
    pixel: int
    inputs: str
    weights: str


class Order:
    """`starts` names the loaded word that each pixel's sum starts at. What is `kept` is loaded too, and stays in its
    registers at the end.

    On a core that issues one instruction at a time, loads stand together, as many as registers are free: there the
    second costs less. Where it `alternates`, each stands beside a product.
    """

    def __init__(self, code: Assembly, loads: Sequence[Load], products: Sequence[Product], kept: Sequence[Load],
                 free: Sequence[str], *, starts: Mapping[int, str], alternates: bool) -> None:  # fmt: skip
        self._code = code
        self._loads = [*loads, *kept]
        self._products = products
        self._all = tuple(free)
        self._alternates = alternates
        self._starts = starts
        self._kept = {load.name for load in kept}
        self._last = {name: i for i, product in enumerate(products) for name in (product.inputs, product.weights)}
        begun: set[int] = set()
        for i, product in enumerate(products):
            if product.pixel not in begun:
                begun.add(product.pixel)
                self._last[starts[product.pixel]] = i
        self.sums: dict[int, str] = {}
        self._registers: dict[str, str] = {}

    def register(self, name: str) -> str:
        return self._registers[name]

    @property
    def spare(self) -> list[str]:
        """Registers that hold nothing at the end."""
        used = {*self._registers.values(), *self.sums.values()}
        return [name for name in self._all if name not in used]

    def write(self) -> None:
        """Emit the instructions: with as many words ahead as registers allow for until all sums have begun."""
        for ahead in range(len(self._all), 0, -1):
            lines = self._attempt(ahead)
            if lines is not None:
                self._code.ops(lines)
                return
        raise InternalError("depthwise convolution", "too few registers for a block")

    def _attempt(self, ahead: int) -> list[str] | None:
        """The instructions, or None where registers run out."""
        self.sums, self._registers = {}, {}
        unsplit: dict[str, Load] = {}
        free, loads, lines = list(self._all), deque(self._loads), list[str]()
        pixels, starts = len(self._starts), frozenset(self._starts.values())

        def can_load() -> bool:
            waiting = pixels - len(self.sums)
            words = len(self._registers.keys() - starts)
            has_room = bool(loads) and len(free) > bool(loads[0].second)
            return has_room and (waiting == 0 or loads[0].name in starts or words < ahead)

        def load() -> None:
            item = loads.popleft()
            self._registers[item.name] = free.pop(0)
            lines.extend(item.before)
            if item.address:
                lines.append(f"ldr {{{self._registers[item.name]}}}, {item.address}")
            if item.second:
                self._registers[item.second] = free.pop(0)
                unsplit[item.name] = unsplit[item.second] = item

        for index, product in enumerate(self._products):
            while not (product.inputs in self._registers and product.weights in self._registers):
                if not can_load():
                    return None
                load()
                while not self._alternates and can_load():
                    load()
            if self._alternates and can_load():
                load()
            source = self.sums.get(product.pixel) or self._registers[self._starts[product.pixel]]
            start, is_first = self._starts[product.pixel], product.pixel not in self.sums
            if is_first and self._last[start] == index:
                self.sums[product.pixel] = self._registers.pop(start)
            elif is_first:
                if not free:
                    return None
                self.sums[product.pixel] = free.pop(0)
            x, w = self._registers[product.inputs], self._registers[product.weights]
            if product.weights in unsplit:
                item = unsplit.pop(product.weights)
                del unsplit[item.second if product.weights == item.name else item.name]
                first, second = self._registers[item.name], self._registers[item.second]
                lines.extend(line.format(first=f"{{{first}}}", second=f"{{{second}}}") for line in item.split)
            lines.append(f"{product.instruction} {{{self.sums[product.pixel]}}}, {{{x}}}, {{{w}}}, {{{source}}}")
            for name in (product.inputs, product.weights):
                if self._last[name] == index and name not in self._kept:
                    free.append(self._registers.pop(name))
        while loads:
            if not free:
                return None
            load()
        return lines
