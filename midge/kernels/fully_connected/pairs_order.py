"""The order of loads and products in the loops of `pairs`, with registers as they get free."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from midge.kernels.assembly import Assembly

_LEAST_AT_ONCE = 3
"""Words of weights that one `LDM` loads: it takes as long as so many `LDR` in a row, in less code."""


@dataclass(slots=True, eq=False)
class Product:
    """Of one step, the products of two outputs (accumulators A and B), of an odd one (B), or the squares of x."""

    step: int
    accumulators: tuple[str, ...]
    is_squares: bool = False
    registers: list[str] = field(default_factory=list)
    """Of its words of weights, as they are loaded; an odd one has one word, and a register for what that widens to."""

    @property
    def words(self) -> int:
        return 0 if self.is_squares else len(self.accumulators)

    @property
    def is_loaded(self) -> bool:
        return self.is_squares or len(self.registers) == 2

    def sums(self, x: Sequence[str]) -> list[str]:
        """Instructions on the words as they are."""
        acc = self.accumulators[0]
        if self.is_squares:
            return [f"smlad {{{acc}}}, {{{x[0]}}}, {{{x[1]}}}, {{{acc}}}"]
        if self.words == 1:
            return []
        return [f"smlad {{{acc}}}, {{{x[i]}}}, {{{word}}}, {{{acc}}}" for i, word in enumerate(self.registers)]

    def widened(self, x: Sequence[str]) -> list[str]:
        """B's weights to the inputs that they meet crosswise, in place of the words."""
        if self.is_squares:
            return []
        first, second = self.registers
        if self.words == 1:
            return [f"sxtab16 {{{second}}}, {{{x[0]}}}, {{{first}}}, ror #8",
                    f"sxtab16 {{{first}}}, {{{x[1]}}}, {{{first}}}"]  # fmt: skip
        return [f"sxtab16 {{{first}}}, {{{x[1]}}}, {{{first}}}", f"sxtab16 {{{second}}}, {{{x[0]}}}, {{{second}}}"]

    def crossed(self) -> list[str]:
        """The products of what is widened."""
        if self.is_squares:
            return []
        acc = self.accumulators[-1]
        return ["smlad {{{0}}}, {{{1}}}, {{{2}}}, {{{0}}}".format(acc, *self.registers)]


@dataclass(frozen=True, slots=True)
class _Load:
    """A word of a step's inputs, one of a product's weights, or (neither) the end of x."""

    registers: int
    """Two where what the word widens to needs one more."""
    step: int | None = None
    product: Product | None = None


class Order:
    """Writes the body of a loop. `widens`: a word of x brings the bytes of a step, to be widened into two words."""

    def __init__(self, code: Assembly, products: Sequence[Product], free: Sequence[str], *, widens: bool,
                 end_at: int | None) -> None:  # fmt: skip
        """`free`: registers, the lowest first. `end_at`: where in the frame the end of x lies, if the loop wants it."""
        self.code = code
        self.products = products
        self.ranks = {name: rank for rank, name in enumerate(free)}
        self.free = list(free)
        self.widens = widens
        self.end_at = end_at
        self.end = ""
        """The register that holds the end of x."""
        self.last = {product.step: product for product in products}
        self.inputs: dict[int, list[str]] = {}
        self.raw: set[int] = set()
        """Steps whose inputs are still the word that was loaded."""
        self.loads: deque[_Load] = deque()
        for product in products:
            if product.step not in self.inputs:
                self.inputs[product.step] = []
                self.loads.extend([_Load(2, product.step)] if widens else [_Load(1, product.step)] * 2)
            word = _Load(2 if product.words == 1 else 1, product=product)
            self.loads.extend([word] * product.words)
        if end_at is not None:
            self.loads.append(_Load(1))

    def group(self) -> None:
        """As many loads one after the other as there are registers, then what can be computed with them."""
        waiting = deque(self.products)
        while self.loads or waiting:
            self._load_together()
            while waiting and self._is_loaded(waiting[0]):
                product = waiting.popleft()
                x = self._inputs(product)
                self.code.ops([*product.sums(x), *product.widened(x), *product.crossed()])
                self._free_inputs(product)
                self._free(product.registers)

    def alternate(self) -> None:
        """Each load beside a product of words as they are, each widening beside a product of the outputs before."""
        late: Product | None = None
        for _ in range(4):
            self._load_if_can()
        for product in self.products:
            while not self._is_loaded(product):
                if not self._can_load:
                    late = self._finish(late)
                self._load_if_can()
            x = self._inputs(product)
            for line in product.sums(x):
                self.code.op(line)
                self._load_if_can()
            first, *second = [*product.widened(x), ""]
            self.code.ops([first] if first else [])
            self._finish(late)
            self.code.ops([line for line in second if line])
            self._free_inputs(product)
            self._load_if_can()
            late = product
        self._finish(late)
        while self.loads:
            self._load_if_can()

    @property
    def _can_load(self) -> bool:
        return bool(self.loads) and len(self.free) >= self.loads[0].registers

    def _load_if_can(self) -> None:
        if self._can_load:
            self.code.op(self._load_line(*self._load()))

    def _load_together(self) -> None:
        """All that can be loaded now."""
        found: list[tuple[str, str]] = []
        while self._can_load:
            found.append(self._load())
        if len(found) >= _LEAST_AT_ONCE and all(pointer == "wp" for pointer, _ in found):
            self.code.op("ldmia {wp}!, {{" + ", ".join(f"{{{register}}}" for _, register in found) + "}}")
            return
        for pointer in dict.fromkeys(pointer for pointer, _ in found):
            first, *others = [register for of, register in found if of == pointer]
            if pointer == "sp":
                self.code.op(self._load_line(pointer, first))
                continue
            # The advance comes last: a load waits for a pointer that the one before it has moved.
            self.code.ops([f"ldr {{{name}}}, [{{{pointer}}}, #{4 * i}]" for i, name in enumerate(others, 1)])
            self.code.op(f"ldr {{{first}}}, [{{{pointer}}}], #{4 * (1 + len(others))}")

    def _load(self) -> tuple[str, str]:
        """The pointer and the register of the next load; the register counts as loaded from here on."""
        load = self.loads.popleft()
        taken = [self.free.pop(0) for _ in range(load.registers)]
        if load.product is not None:
            load.product.registers.extend(taken)
            return "wp", taken[0]
        if load.step is None:
            self.end = taken[0]
            return "sp", taken[0]
        self.inputs[load.step].extend(taken)
        if self.widens:
            self.raw.add(load.step)
        return "xp", taken[0]

    def _load_line(self, pointer: str, register: str) -> str:
        return f"ldr {{{register}}}, " + (f"[sp, #{self.end_at}]" if pointer == "sp" else f"[{{{pointer}}}], #4")

    def _is_loaded(self, product: Product) -> bool:
        return product.is_loaded and len(self.inputs[product.step]) == 2

    def _inputs(self, product: Product) -> list[str]:
        """The two words of the product's step."""
        even, odd = self.inputs[product.step]
        if product.step in self.raw:
            self.raw.remove(product.step)
            self.code.ops([f"sxtb16 {{{odd}}}, {{{even}}}, ror #8", f"sxtb16 {{{even}}}, {{{even}}}"])
        return [even, odd]

    def _finish(self, product: Product | None) -> None:
        if product is not None:
            self.code.ops(product.crossed())
            self._free(product.registers)

    def _free_inputs(self, product: Product) -> None:
        """After the last product of a step its inputs are done with."""
        if product is self.last[product.step]:
            self._free(self.inputs[product.step])

    def _free(self, registers: Sequence[str]) -> None:
        self.free = sorted((*self.free, *registers), key=self.ranks.__getitem__)
