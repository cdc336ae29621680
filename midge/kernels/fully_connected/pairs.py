"""Assembly of fully connected layers, weights two outputs to a half word: five instructions for eight products.

A step is four inputs x0 … x3, in two words X0 = (x0, x1) and X1 = (x2, x3). Two words of the stream hold the weights of
outputs A and B for them, each half `256 * a + b`. `SMLAD` with these words as they are sums `256 * A + B`. What is left
is B, and that takes three instructions by Winograd's inner product (S. Winograd, A New Algorithm for Inner Product,
IEEE Transactions on Computers C-17, 1968):

    (x0 + b2) (x2 + b0) + (x1 + b3) (x3 + b1) = b0 x0 + b1 x1 + b2 x2 + b3 x3 + squares(x) + (b0 b2 + b1 b3)

where `SXTAB16` widens two of B's weights and adds the inputs to them at once. The last term is known when compiling;
squares(x) = x0 x2 + x1 x3 is the same for all outputs, so it is summed once, beside the first block, and subtracted
from each B. A is the difference of both sums, 256 times finer than B. All is modulo 2^32; that A and B fit is a part of
the proof of the requantisation.

The first block has what outputs remain of sixes (none: then it only sums the squares), the others three pairs each. An
odd output, the first block's last, has its four weights in one word, for Winograd's form alone. The stream holds
multiplier and offset where all outputs share them, then for each block: start values, the words of all steps, and
those parameters that outputs have of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.fully_connected.pairs_order import Order, Product
from midge.kernels.requantize_armv7em import Requantization

FRACTION_BITS = 8
"""What B is shifted left by, to be as fine as A."""
STEP_INPUTS = 4
ACCUMULATORS = ("a0", "a1", "a2", "a3", "a4", "a5")
SIX = len(ACCUMULATORS)
"""Outputs of a block but the first."""
_FREE = ("t0", "t1", "t2", "t3", "t4", "t5")
REGISTERS = {
    "xp": "r0", "wp": "r1", "t0": "r2", "t1": "r3", "a0": "r4", "a1": "r5", "a2": "r6", "a3": "r7", "a4": "r8",
    "a5": "r9", "t2": "r10", "t3": "r11", "t4": "r12", "t5": "lr",
}  # fmt: skip
_OUT, _SHARED, _SQUARES, END = "t0", ("t1", "t2", "t3"), "t4", "t5"
"""Registers while results are stored: where to, parameters, the sum of squares, the end of the sixes."""
_STEP_BYTES, _MOST_STEPS, _MOST_FIRST_STEPS = 84, 10, 4
"""Code of one step of the largest block; steps in a loop's body, and in that of the first block, which runs once."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. `pairs_loads`: the core issues a load beside a multiplication, so they alternate.
    `widens`: inputs are bytes, so a word brings those of a step: the even ones are X0, the odd ones X1."""

    inputs: int
    outputs: int
    loop_bytes: int
    pairs_loads: bool
    widens: bool = False

    @property
    def steps(self) -> int:
        return -(-self.inputs // STEP_INPUTS)

    def loop(self, *, is_first: bool) -> tuple[int, int]:
        """Steps in the body of the loop, and after it, with the fewest rounds: one where there is no loop, or more."""
        most = self.most_steps(is_first=is_first)
        if self.steps <= most:
            return self.steps, 0
        bodies = [(body, self.steps % body) for body in range(1, most + 1)]
        fitting = [(body, rest) for body, rest in bodies if body + rest <= most]
        return min(fitting, key=lambda loop: (self.steps // loop[0], sum(loop)))

    def most_steps(self, *, is_first: bool) -> int:
        """As many as may be written out one after the other."""
        return min(_MOST_FIRST_STEPS if is_first else _MOST_STEPS, max(1, self.loop_bytes // _STEP_BYTES))

    @property
    def step_bytes(self) -> int:
        """Bytes of the inputs of a step."""
        return STEP_INPUTS if self.widens else 2 * STEP_INPUTS

    @property
    def first(self) -> int:
        """Outputs of the first block."""
        return self.outputs % SIX

    @property
    def sixes(self) -> int:
        return self.outputs // SIX

    @property
    def sizes(self) -> tuple[int, ...]:
        """Outputs of each block, in order."""
        return (self.first, *[SIX] * self.sixes)


def refuse(weights: np.ndarray) -> str | None:
    """Why weights int8 [O, I] can't lie two outputs to a half word."""
    low, high = weights[1::2], weights[: len(weights) // 2 * 2 : 2]
    return "a pair of weights leaves 16 bits" if np.any((high == -128) & (low < 0)) else None


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Requantization) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [O, I]."""
    shared = requantization.parameters[0, shared_columns(requantization)]
    return np.concatenate([shared, blocks_stream(weights, shape, requantization)])


def blocks_stream(weights: np.ndarray, shape: Shape, requantization: Requantization) -> np.ndarray:
    """The stream from the first block on."""
    wide = np.pad(weights, ((0, 0), (0, STEP_INPUTS * shape.steps - shape.inputs))).astype(np.int16)
    steps = wide.reshape(len(weights), shape.steps, STEP_INPUTS)
    if shape.widens:
        steps = steps[:, :, [0, 2, 1, 3]]
    own = requantization.parameters[:, ~shared_columns(requantization)]
    parts: list[np.ndarray] = []
    first = 0
    for size in shape.sizes:
        block = slice(first, first + size)
        parts += [_starts(requantization.starts[block], steps[block]), _words(steps[block]), own[block].reshape(-1)]
        first += size
    return np.concatenate(parts).astype(np.int32)


def _words(steps: np.ndarray) -> np.ndarray:
    """The words of a block's weights int16 [outputs, steps, 4], step by step."""
    paired = len(steps) // 2 * 2
    pairs = np.ascontiguousarray(256 * steps[0:paired:2] + steps[1:paired:2]).view(np.int32)
    odd = np.ascontiguousarray(steps[paired:, :, [0, 2, 1, 3]].astype(np.int8)).view(np.int32)
    return np.concatenate([*pairs, *odd], axis=1).reshape(-1) if len(steps) else np.zeros(0, np.int32)


def _starts(starts: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """What a block's accumulators start at: A with B in it, B without the finer bits and Winograd's last term."""
    found = starts.astype(np.int64) >> FRACTION_BITS
    wide = steps.astype(np.int64)
    terms = (wide[:, :, :2] * wide[:, :, 2:]).sum((1, 2))
    paired = len(starts) // 2 * 2
    found[0:paired:2] = starts[0:paired:2] + found[1:paired:2]
    terms[0:paired:2] = 0
    return (found - terms).astype(np.int32)


def shared_columns(requantization: Requantization) -> np.ndarray:
    """Of multiplier, offset and what else there is, whether all outputs have the same."""
    return np.all(requantization.parameters == requantization.parameters[0], axis=0)


def parameters_key(requantization: Requantization) -> str:
    """What the code depends on, for a function's name: s for a parameter that all outputs share, o for their own."""
    return "".join("s" if shared else "o" for shared in shared_columns(requantization))


def function(name: str, shape: Shape, requantization: Requantization, title: str) -> Function:
    """The function `void name(const int16_t *x, void *out, const int32_t *stream)`; `int8_t` where it widens them."""
    return Writer(name, shape, requantization, title).write()


class Writer:
    """Frame: x, out, shared parameters, the sum of squares, the end of the sixes, then the end of the loop over x.

    All but the last are loaded at once, so they lie in the order of the registers that they go to.
    """

    def __init__(self, name: str, shape: Shape, requantization: Requantization, title: str) -> None:
        self.shape = shape
        self.scale = requantization.code
        self.is_shared = [bool(shared) for shared in shared_columns(requantization)]
        self.own_words = self.is_shared.count(False)
        self.set_frame(name, title, has_end=shape.sixes > 1)

    def set_frame(self, name: str, title: str, *, has_end: bool, more_words: int = 0) -> None:
        """Begin the code; what is in the frame follows from what outputs share."""
        self.shared = _SHARED[: self.is_shared.count(True)]
        self.frame = ("xp", _OUT, *self.shared, _SQUARES, *([END] if has_end else []))
        self.x_end_at = 4 * len(self.frame)
        frame_bytes = self.x_end_at + 4 + 4 * more_words
        self.code = Assembly(name, title, REGISTERS, frame_bytes + frame_bytes % 8)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        self.begin()
        self.set_x_end(is_first=True)
        self.block(shape.first, is_first=True)
        self.set_x_end(is_first=False)
        if shape.sixes > 1:
            code.constant(END, 4 * shape.sixes * SIX * (1 + shape.steps + self.own_words))
            code.ops([f"add {{{END}}}, {{wp}}", f"str {{{END}}}, {self.at(END)}"])
        if shape.sixes:
            with code.loop("next 6 outputs") as label:
                self.block(SIX, is_first=False)
                if shape.sixes > 1:
                    code.ops([f"cmp {{wp}}, {{{END}}}", f"bne {label}"])
        return self.function()

    def begin(self) -> None:
        """Operands and shared parameters into the frame."""
        code = self.code
        code.ops([f"str {{xp}}, {self.at('xp')}", f"str r1, {self.at(_OUT)}", "mov {wp}, r2"])
        if self.shared:
            code.op("ldmia {wp}!, " + registers(self.shared), "parameters of all outputs")
            code.ops([f"str {{{name}}}, {self.at(name)}" for name in self.shared])

    def function(self) -> Function:
        element = "int8_t" if self.shape.widens else "int16_t"
        return self.code.function(f"void {self.code.name}(const {element} *x, void *out, const int32_t *stream)")

    def set_x_end(self, *, is_first: bool) -> None:
        """Where the loop of the following blocks ends; `xp` is at the beginning."""
        code, shape = self.code, self.shape
        body, rest = shape.loop(is_first=is_first)
        if body < shape.steps and (is_first or shape.sixes):
            code.constant(END, shape.step_bytes * (shape.steps - rest))
            code.ops([f"add {{{END}}}, {{xp}}", f"str {{{END}}}, [sp, #{self.x_end_at}]"])

    def at(self, name: str) -> str:
        """The place in the frame of what goes to a register."""
        return f"[sp, #{4 * self.frame.index(name)}]"

    def block(self, size: int, *, is_first: bool) -> None:
        """`size` outputs; beside the first ones the squares of x are summed."""
        body, rest = self.shape.loop(is_first=is_first)
        self.products(size, body, rest, is_first=is_first, is_loop=body < self.shape.steps)
        self.results(ACCUMULATORS[:size])

    def products(self, size: int, body: int, rest: int, *, is_first: bool, is_loop: bool) -> None:
        """Start values and all steps of a block: `body` of them in a loop, if it is one, then the rest."""
        code, outputs = self.code, ACCUMULATORS[:size]
        squares = ACCUMULATORS[size] if is_first else None
        if outputs:
            code.op("ldmia {wp}!, " + registers(outputs), "start values")
        if squares:
            code.op(f"mov {{{squares}}}, #0", "squares of x")
        if is_loop:
            with code.loop(f"next {body} steps") as label:
                end = self.steps(outputs, squares, body, ends=True)
                code.ops([f"cmp {{xp}}, {{{end}}}", f"bne {label}"])
            self.steps(outputs, squares, rest, ends=False)
        else:
            self.steps(outputs, squares, body, ends=False)
        if squares:
            code.op(f"str {{{squares}}}, {self.at(_SQUARES)}")

    def steps(self, outputs: Sequence[str], squares: str | None, count: int, *, ends: bool) -> str:
        """Some steps of a block; returns the register that holds the end of x, if the loop `ends` there."""
        products = []
        for step in range(count):
            products += [Product(step, (squares,), is_squares=True)] if squares else []
            products += [Product(step, tuple(outputs[i : i + 2])) for i in range(0, len(outputs), 2)]
        free = [name for name in REGISTERS if name not in ("xp", "wp", squares, *outputs)]
        order = Order(self.code, products, free, widens=self.shape.widens, end_at=self.x_end_at if ends else None)
        if self.shape.pairs_loads:
            order.alternate()
        else:
            order.group()
        return order.end

    def results(self, outputs: Sequence[str]) -> None:
        """Take the squares from B, and B from A; scale and store. Leaves the frame's registers loaded."""
        code, own_words = self.code, self.own_words
        code.op(f"ldmia sp, {registers(self.frame)}")
        if not outputs:
            return
        for i, acc in enumerate(outputs):
            if i % 2 or i + 1 == len(outputs):
                code.op(f"sub {{{acc}}}, {{{_SQUARES}}}")
        kept = (_OUT, *self.shared, *([END] if END in self.frame else []))
        free = [name for name in _FREE if name not in kept]
        lift = self.load_lift(free)
        at_once = max(1, len(free) // own_words if own_words else len(outputs))
        for i, acc in enumerate(outputs):
            if own_words and i % at_once == 0:
                code.op("ldmia {wp}!, " + registers(free[: own_words * min(at_once, len(outputs) - i)]))
            own, shared = iter(free[own_words * (i % at_once) :]), iter(self.shared)
            multiplier, offset, *third = (next(shared if is_shared else own) for is_shared in self.is_shared)
            if i % 2 == 0 and i + 1 < len(outputs):
                code.op(f"sub {{{acc}}}, {{{outputs[i + 1]}}}")
            else:
                code.op(f"lsl {{{acc}}}, #{FRACTION_BITS}")
            for group in self.scale.steps(acc, multiplier, offset, third[0] if third else offset, lift):
                code.ops(group)
            bits = self.scale.layout.fraction_bits
            if bits:
                code.op(f"lsl {{{acc}}}, #{bits}")
            store, width = ("strb", 1) if bits is None else ("strh", 2)
            code.op(f"{store} {{{acc}}}, [{{{_OUT}}}], #{width}")
        code.op(f"str {{{_OUT}}}, {self.at(_OUT)}")

    def load_lift(self, free: list[str]) -> str:
        """The register of the lift, taken out of `free`, where it is not a part of the code; else nothing."""
        del free
        return ""


def registers(names: Sequence[str]) -> str:
    """The list of an `LDM`."""
    return "{{" + ", ".join(f"{{{name}}}" for name in names) + "}}"
