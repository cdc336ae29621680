"""Assembly of fully connected layers whose weights lie two outputs to a half word: one widening for four products.

A word of the stream holds the weights of outputs A and B for two inputs, each half `256 * wA + wB`. `SMLAD` with the
word as it is sums `256 * A + B`; `SXTB16` leaves wB in each half, and `SMLAD` with that sums B. So A is their
difference, 256 times finer than B, all modulo 2^32; that A fits is a part of the proof of the requantisation.

Blocks of up to three pairs of outputs; an odd output's words hold two of its weights, widened. The stream holds for
each block: start values, the words of all steps, multipliers and offsets (those that all outputs share are in the
code). A step is two inputs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.requantize_armv7em import Requantization

FRACTION_BITS = 8
"""What B is shifted left by, to be as fine as A."""
_ACCUMULATORS = ("a0", "a1", "a2", "a3", "a4", "a5")
_FREE = ("t0", "t1", "t2", "t3", "t4", "t5")
REGISTERS = {
    "xp": "r0", "wp": "r1", "t0": "r2", "t1": "r3", "a0": "r4", "a1": "r5", "a2": "r6", "a3": "r7", "a4": "r8",
    "a5": "r9", "t2": "r10", "t3": "r11", "t4": "r12", "t5": "lr",
}  # fmt: skip
OUT_AT, X_AT, X_END_AT, BLOCKS_END_AT, _FRAME_BYTES = 0, 4, 8, 12, 16
_STEP_BYTES, _MOST_STEPS, _MOST_REST_STEPS = 52, 16, 4
"""Code of one step of the largest block; steps in a loop's body, and in that of the block at the end, which runs once.
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. `pairs_loads`: the core issues a load beside a multiplication, so they alternate.
    `widens`: inputs are bytes, so a word brings those of two steps: the even ones, then the odd ones."""

    inputs: int
    outputs: int
    loop_bytes: int
    pairs_loads: bool
    widens: bool = False

    @property
    def steps(self) -> int:
        return -(-self.inputs // 4) * 2 if self.widens else -(-self.inputs // 2)

    def unroll(self, *, is_rest: bool) -> int:
        """Steps in the body of the loop."""
        most = min(_MOST_REST_STEPS if is_rest else _MOST_STEPS, max(1, self.loop_bytes // _STEP_BYTES), self.steps)
        whole = 2 if self.widens else 1
        return next((n for n in range(most, 0, -1) if self.steps % n == 0 and n % whole == 0), whole)

    @property
    def input_bytes(self) -> int:
        """Of all steps."""
        return self.steps * (2 if self.widens else 4)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(outputs, how often): sixes, and the rest."""
        sixes, rest = divmod(self.outputs, len(_ACCUMULATORS))
        return tuple((size, count) for size, count in ((6, sixes), (rest, 1)) if size and count)


def refuse(weights: np.ndarray) -> str | None:
    """Why weights int8 [O, I] can't lie two outputs to a half word."""
    low, high = weights[1::2], weights[: len(weights) // 2 * 2 : 2]
    return "a pair of weights leaves 16 bits" if np.any((high == -128) & (low < 0)) else None


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, I]."""
    wide = np.pad(weights, ((0, 0), (0, 2 * shape.steps - shape.inputs))).astype(np.int16)
    if shape.widens:
        wide = wide.reshape(len(weights), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(weights), -1)
    paired = len(weights) // 2 * 2
    halves = [256 * wide[0:paired:2] + wide[1:paired:2], wide[paired:]]
    words = np.ascontiguousarray(np.concatenate(halves)).view(np.int32)  # [pairs and the odd one, steps]
    starts, parameters = _starts(requantization), requantization.parameters
    own = [column for column, shared in enumerate(shared_parameters(requantization)) if shared is None]
    parts: list[np.ndarray] = []
    first = 0
    for size, count in shape.blocks:
        for _ in range(count):
            block, pairs = slice(first, first + size), slice(first // 2, (first + size + 1) // 2)
            parts += [starts[block], words[pairs].T.reshape(-1), parameters[block][:, own].reshape(-1)]
            first += size
    return np.concatenate(parts)


def shared_parameters(requantization: Requantization) -> tuple[int | None, ...]:
    """Of multiplier, offset and what else there is, the numbers that all outputs have."""
    parameters = requantization.parameters
    return tuple(int(column[0]) if np.all(column == column[0]) else None for column in parameters.T)


def _starts(requantization: Requantization) -> np.ndarray:
    """What accumulators start at: B without the finer bits, A with B in them, an odd one as B."""
    starts = requantization.starts.astype(np.int64)
    paired = len(starts) // 2 * 2
    coarse = starts >> FRACTION_BITS
    coarse[0:paired:2] = starts[0:paired:2] + coarse[1:paired:2]
    return coarse.astype(np.int32)


def function(name: str, shape: Shape, requantization: Requantization, title: str) -> Function:
    """The function `void name(const int16_t *x, void *out, const int32_t *stream)`; `int8_t` where it widens them."""
    return Writer(name, shape, requantization, title).write()


@dataclass(slots=True)
class _Product:
    """A word of weights, the step and the accumulators that it belongs to; its register once it is loaded."""

    step: int
    accumulators: tuple[str, ...]
    register: str = field(default="")


class Writer:
    """Frame: out, x, end of the loop over x, end of the blocks of six."""

    def __init__(self, name: str, shape: Shape, requantization: Requantization, title: str) -> None:
        self.shape = shape
        self.scale = requantization.code
        self.shared = shared_parameters(requantization)
        self.own_words = self.shared.count(None)
        self.code = Assembly(name, title, REGISTERS, _FRAME_BYTES)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.ops([f"str r1, [sp, #{OUT_AT}]", "mov {wp}, r2", f"str {{xp}}, [sp, #{X_AT}]"])
        if any(shape.unroll(is_rest=count == 1) < shape.steps for _, count in shape.blocks):
            code.constant("t5", shape.input_bytes)
            code.ops(["add {t5}, {xp}", f"str {{t5}}, [sp, #{X_END_AT}]"])
        for size, count in shape.blocks:
            if count > 1:
                words = size + shape.steps * (size // 2) + self.own_words * size
                code.constant("t5", 4 * words * count)
                code.ops(["add {t5}, {wp}", f"str {{t5}}, [sp, #{BLOCKS_END_AT}]"])
            with code.loop(f"next {size} outputs") as label:
                self.block(size, is_rest=count == 1)
                if count > 1:
                    code.ops(["cmp {wp}, {t5}", f"bne {label}"])
        element = "int8_t" if shape.widens else "int16_t"
        return code.function(f"void {code.name}(const {element} *x, void *out, const int32_t *stream)")

    def block(self, size: int, *, is_rest: bool) -> None:
        unroll = self.shape.unroll(is_rest=is_rest)
        self.products(size, unroll, is_loop=unroll < self.shape.steps)
        self.results(size, reads_end=not is_rest)

    def products(self, size: int, unroll: int, *, is_loop: bool) -> None:
        """Start values and all steps of a block, `unroll` in the body of a loop."""
        code = self.code
        names = ", ".join(f"{{{acc}}}" for acc in _ACCUMULATORS[:size])
        code.ops([f"ldr {{xp}}, [sp, #{X_AT}]", "ldmia {wp}!, {{" + names + "}}"])
        if not is_loop:
            self.steps(size, unroll, ends=False)
            return
        with code.loop(f"next {unroll} steps") as label:
            end = self.steps(size, unroll, ends=True)
            code.ops([f"cmp {{xp}}, {{{end}}}", f"bne {label}"])

    def steps(self, size: int, unroll: int, *, ends: bool) -> str:
        """The body of the loop; returns the register that holds the end of x."""
        groups = [_ACCUMULATORS[first : min(first + 2, size)] for first in range(0, size, 2)]
        products = [_Product(step, group) for step in range(unroll) for group in groups]
        free = [*_FREE, *_ACCUMULATORS[size:]]
        order = _Order(self.code, products, free, ends=ends, widens=self.shape.widens)
        if self.shape.pairs_loads:
            order.alternate()
        else:
            order.group()
        return order.end

    def results(self, size: int, *, reads_end: bool) -> None:
        """Separate A from B, scale and store; leaves the end of blocks of this size in t5 where that is wanted."""
        code, own_words = self.code, self.own_words
        code.op(f"ldr {{t0}}, [sp, #{OUT_AT}]")
        free = list(_FREE[1:-1])
        if reads_end:
            code.op(f"ldr {{t5}}, [sp, #{BLOCKS_END_AT}]")
        registers = [free.pop(0) if value is not None else "" for value in self.shared]
        lift = self.load_shared(registers, free)
        at_once = max(1, len(free) // own_words if own_words else size)
        for output in range(size):
            if own_words and output % at_once == 0:
                loaded = free[: own_words * min(at_once, size - output)]
                code.op("ldmia {wp}!, {{" + ", ".join(f"{{{name}}}" for name in loaded) + "}}")
            own = iter(free[own_words * (output % at_once) :])
            multiplier, offset, *third = (register or next(own) for register in registers)
            acc = _ACCUMULATORS[output]
            if output % 2 == 0 and output + 1 < size:
                code.op(f"sub {{{acc}}}, {{{_ACCUMULATORS[output + 1]}}}")
            else:
                code.op(f"lsl {{{acc}}}, #{FRACTION_BITS}")
            for group in self.scale.steps(acc, multiplier, offset, third[0] if third else offset, lift):
                code.ops(group)
            bits = self.scale.layout.fraction_bits
            if bits:
                code.op(f"lsl {{{acc}}}, #{bits}")
            store, width = ("strb", 1) if bits is None else ("strh", 2)
            code.op(f"{store} {{{acc}}}, [{{t0}}], #{width}")
        code.op(f"str {{t0}}, [sp, #{OUT_AT}]")

    def load_shared(self, registers: list[str], free: list[str]) -> str:
        """Numbers that all outputs share into their registers. Returns that of the lift, where one of `free` has it."""
        del free
        for register, value in zip(registers, self.shared, strict=True):
            if value is not None:
                self.code.constant(register, value)
        return ""


class _Order:
    """Puts the loads and products of a loop's body in an order for a core, with registers as they get free."""

    def __init__(self, code: Assembly, products: list[_Product], free: list[str], *, ends: bool, widens: bool) -> None:
        self.code = code
        self.products = products
        self.free = free
        self.inputs: dict[int, str] = {}
        self.widens = widens
        self.raw: set[int] = set()
        """Even steps whose inputs are still the word that was loaded."""
        self.end = ""
        self.loads: deque[int | _Product | None] = deque()
        for product in products:
            if product.step not in self.loads and not (widens and product.step % 2):
                self.loads.append(product.step)
            self.loads.append(product)
        if ends:
            self.loads.append(None)

    @property
    def can_load(self) -> bool:
        """True where there is a word left to load, and registers for it."""
        return bool(self.loads) and len(self.free) >= (2 if self.widens and isinstance(self.loads[0], int) else 1)

    def load(self) -> None:
        """The next word: of inputs, of weights, or the end of x."""
        wanted, register = self.loads.popleft(), self.free.pop(0)
        if wanted is None:
            self.end = register
            self.code.op(f"ldr {{{register}}}, [sp, #{X_END_AT}]")
        elif isinstance(wanted, _Product):
            wanted.register = register
            self.code.op(f"ldr {{{register}}}, [{{wp}}], #4")
        else:
            self.inputs[wanted] = register
            self.code.op(f"ldr {{{register}}}, [{{xp}}], #4", f"step {wanted}")
            if self.widens:
                self.inputs[wanted + 1] = self.free.pop(0)
                self.raw.add(wanted)

    def multiply(self, product: _Product, acc: str) -> None:
        if product.step in self.raw:
            even, odd = self.inputs[product.step], self.inputs[product.step + 1]
            self.code.ops([f"sxtb16 {{{odd}}}, {{{even}}}, ror #8", f"sxtb16 {{{even}}}, {{{even}}}"])
            self.raw.remove(product.step)
        self.code.op(f"smlad {{{acc}}}, {{{self.inputs[product.step]}}}, {{{product.register}}}, {{{acc}}}")

    def widen(self, product: _Product) -> None:
        self.code.op(f"sxtb16 {{{product.register}}}, {{{product.register}}}")

    def done(self, product: _Product) -> None:
        """Its register is free, and that of its inputs after the step's last product."""
        self.free.append(product.register)
        if product is self.products[-1] or self.products[self.products.index(product) + 1].step != product.step:
            self.free.append(self.inputs[product.step])

    def group(self) -> None:
        """As many loads one after the other as there are registers, then what can be computed with them."""
        waiting = deque(self.products)
        while waiting:
            while self.can_load:
                self.load()
            while waiting and waiting[0].register:
                product = waiting.popleft()
                self.multiply(product, product.accumulators[0])
                if len(product.accumulators) == 2:
                    self.widen(product)
                    self.multiply(product, product.accumulators[1])
                self.done(product)
        while self.loads:
            self.load()

    def alternate(self) -> None:
        """Each load beside a product, each widening beside the second product of the word before."""
        for _ in range(4):
            if self.can_load:
                self.load()
        before: _Product | None = None
        for product in self.products:
            while not product.register:
                self.load()
            if self.can_load:
                self.load()
            self.multiply(product, product.accumulators[0])
            if len(product.accumulators) == 2:
                self.widen(product)
            before = self._finish(before)
            before = product
        self._finish(before)
        while self.loads:
            self.load()

    def _finish(self, product: _Product | None) -> None:
        if product is None:
            return
        if len(product.accumulators) == 2:
            self.multiply(product, product.accumulators[1])
        self.done(product)
