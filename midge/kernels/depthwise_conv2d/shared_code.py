"""The assembly of a function for depthwise convolutions of several sizes (`shared` says what it reads)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.depthwise_conv2d.order import Load, Order, Product
from midge.kernels.depthwise_conv2d.shared import FRACTION_BITS, SPLIT, SPLIT_WIDE, TAPS, Shared
from midge.kernels.depthwise_conv2d.tap_products import TapProducts

_SLOTS = ("out", "next_out", "left")
"""Of the frame, before the head of the stream: results of the channel, and of the block; blocks left."""
_NUMBERS = ("multiplier", "offset", "part")
"""What a packed word is made into; with the start value it has places in the frame where a channel has many blocks."""
_PLANES_REGISTERS = {
    "p0": "r0", "p1": "r1", "p2": "r2", "wp": "r3", "a0": "r4", "a1": "r5", "a2": "r6", "a3": "r7", "a4": "r8",
    "a5": "r9", "e": "r10", "o": "r11", "w02": "r12", "w1": "lr",
}  # fmt: skip
_WIDE_REGISTERS = {"p0": "r0", "p1": "r1", "p2": "r2", "wp": "r3"} | {
    f"v{index}": register for index, register in enumerate((*(f"r{number}" for number in range(4, 13)), "lr"))
}
_HEAD_REGISTERS = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
_SPARE_BYTE = 2
"""Of a word of weights."""


def function(name: str, shared: Shared, *, pairs_loads: bool) -> Function:
    """The function `void name(const int8_t *const *rows, void *out, const int32_t *stream)`, or int16_t."""
    writer = _Wide(name, shared, pairs_loads=pairs_loads) if shared.is_wide else _Planes(name, shared)
    return writer.write()


class _Writer(ABC):
    """The loops; how a block's products are made is up to the layout of the inputs."""

    def __init__(self, name: str, shared: Shared, registers: dict[str, str], free: Sequence[str]) -> None:
        """`free`: registers that hold nothing between blocks. `keeps_numbers`: blocks find a channel's numbers ready in
        the frame."""
        self.shared = shared
        self.free = free
        self.t, self.u = f"{{{free[0]}}}", f"{{{free[1]}}}"
        self.keeps_numbers = False
        slots = (*_SLOTS, *shared.fields, *(("start", *_NUMBERS) if shared.is_packed and shared.repeated else ()))
        self.at = {slot: 4 * index for index, slot in enumerate(slots)}
        frame_bytes = 4 * len(slots)
        title = "Depthwise convolutions 3x3: sizes, strides and shifts come from the stream."
        self.code = Assembly(name, title, registers, frame_bytes + frame_bytes % 8)

    @abstractmethod
    def block(self, pixels: int) -> list[str]:
        """Products and results of a block, whose rows then move on; returns the registers with the results."""

    def write(self) -> Function:
        code, shared = self.code, self.shared
        code.ops([self.store("r1", "out"), f"add {{wp}}, sp, #{self.at[shared.fields[0]]}"])
        for first in range(0, len(shared.fields), len(_HEAD_REGISTERS)):
            names = ", ".join(_HEAD_REGISTERS[: len(shared.fields) - first])
            code.ops([f"ldmia r2!, {{{{{names}}}}}", f"stmia {{wp}}!, {{{{{names}}}}}"])
        code.ops(["mov {wp}, r2", self.load(self.t, "end"), f"add {self.t}, {{wp}}", self.store(self.t, "end")])
        code.ops(["ldr {p2}, [r0, #8]", "ldr {p1}, [r0, #4]", "ldr {p0}, [r0]"])
        with code.loop("next channel") as label:
            if shared.is_one_block:
                self.results(self.block(shared.sizes[0]), "out")
            else:
                code.ops([self.load(self.t, "out"), self.store(self.t, "next_out")])
                for size in shared.sizes:
                    self.blocks(size)
                code.op(self.load(self.t, "out"))
                code.ops([f"add {self.t}, #{shared.scale.layout.dtype.bytes}", self.store(self.t, "out")])
            code.ops([self.load(self.t, "plane"), self.load(self.u, "end")])
            code.ops([f"add {{p{row}}}, {self.t}" for row in range(TAPS)])
            code.ops([f"add {{wp}}, #{4 * shared.channel_words}", f"cmp {{wp}}, {self.u}", f"bne {label}"])
        element = "int16_t" if shared.is_wide else "int8_t"
        return code.function(f"void {code.name}(const {element} *const *rows, void *out, const int32_t *stream)")

    def blocks(self, size: int) -> None:
        """The blocks of one size, of which a layer may have none."""
        code, after = self.code, self.code.new_label()
        code.op(self.load(self.t, f"blocks{size}"))
        if len(self.shared.sizes) > 1:
            code.ops([f"cmp {self.t}, #0", f"beq {after}"])
        is_repeated = size in self.shared.repeated
        self.keeps_numbers = self.shared.is_packed and is_repeated
        if is_repeated:
            code.op(self.store(self.t, "left"))
        if self.keeps_numbers:
            self.keep_numbers()
        with code.loop(f"next {size} pixels") as label:
            self.results(self.block(size), "next_out")
            if is_repeated:
                code.ops([self.load(self.t, "left"), f"subs {self.t}, #1", self.store(self.t, "left"), f"bne {label}"])
        if len(self.shared.sizes) > 1:
            code.place(after, "no more of these")

    def load(self, register: str, slot: str) -> str:
        return f"ldr {register}, [sp, #{self.at[slot]}]"

    def store(self, register: str, slot: str) -> str:
        return f"str {register}, [sp, #{self.at[slot]}]"

    def results(self, sums: list[str], slot: str) -> None:
        """Store a block; `slot` then has the next one's place: beside it, or in the next channel."""
        code, layout = self.code, self.shared.scale.layout
        if layout.fraction_bits:
            code.ops([f"lsl {{{acc}}}, #{layout.fraction_bits}" for acc in sums])
        out, step = (f"{{{name}}}" for name in [name for name in self.free if name not in sums][:2])
        code.ops([self.load(out, slot), self.load(step, "step")])
        store, ahead = ("strb" if layout.dtype.bytes == 1 else "strh"), 0
        if slot == "out":
            ahead = layout.dtype.bytes
            code.ops([f"{store} {{{sums[0]}}}, [{out}], #{ahead}", self.store(out, slot)])
        else:
            code.op(f"{store} {{{sums[0]}}}, [{out}]")
        place = f"[{out}, #-{ahead}]" if ahead else f"[{out}]"
        for acc in sums[1:]:
            code.ops([f"add {out}, {step}", f"{store} {{{acc}}}, {place}"])
        if slot != "out":
            code.ops([f"add {out}, {step}", self.store(out, slot)])

    @property
    def has_bytes(self) -> bool:
        """A block finds its start value in three bytes."""
        return self.shared.is_packed and not self.keeps_numbers

    @property
    def start_at(self) -> str:
        """Where a block's start value lies."""
        return f"[sp, #{self.at['start']}]" if self.keeps_numbers else "[{wp}]"

    def row_at(self, row: int) -> int:
        """Where in a channel's stream the weights of a row of taps lie."""
        return 4 * (self.shared.start_words + row)

    def start(self, start: str, first: str, second: str) -> list[str]:
        """Instructions that load a packed channel's start value, with two more registers: three bytes' bias."""
        low, middle, high = (f"[{{wp}}, #{self.row_at(row) + _SPARE_BYTE}]" for row in range(TAPS))
        return [f"ldrb {first}, {middle}", f"ldrb {start}, {low}", f"ldrsb {second}, {high}",
                f"orr {start}, {start}, {first}, lsl #8", f"orr {start}, {start}, {second}, lsl #16",
                f"lsl {start}, {start}, #{FRACTION_BITS}"]  # fmt: skip

    def keep_numbers(self) -> None:
        """Put a channel's start value, and what its word is made into, where all of its blocks find them."""
        start, first, second, third = self.free[:4]
        code = self.code
        code.ops(self.start(*(f"{{{name}}}" for name in (start, first, second))))
        code.op(self.store(f"{{{start}}}", "start"))
        code.ops([f"ldr {{{start}}}, [{{wp}}, #{self.row_at(TAPS)}]", self.load(f"{{{first}}}", "factor")])
        numbers = self.unpacked([start, first], (second, third))
        code.ops([self.store(f"{{{number}}}", slot) for number, slot in zip(numbers, _NUMBERS, strict=True)])

    def own(self) -> list[str]:
        """Where a channel's multiplier, offset, and lowering or shift lie; or its word and the layer's factor."""
        if self.keeps_numbers:
            return [f"[sp, #{self.at[slot]}]" for slot in _NUMBERS]
        found = [f"[{{wp}}, #{self.row_at(TAPS + index)}]" for index in range(self.shared.own_words)]
        return [*found, f"[sp, #{self.at['factor']}]"] if self.shared.is_packed else found

    def ready(self, registers: list[str], free: Sequence[str]) -> list[str]:
        """Multiplier, offset, and lowering or shift of what `own` says; it may need two more registers."""
        return self.unpacked(registers, free) if self.shared.is_packed and not self.keeps_numbers else registers

    def of_layer(self) -> list[str]:
        """Where the layer's shift and lift lie."""
        found = [f"[sp, #{self.at['shift']}]"] if self.shared.has_shift else []
        return found + ([f"[sp, #{self.at['lift']}]"] if self.shared.scale.lift is None else [])

    def unpacked(self, registers: list[str], free: Sequence[str]) -> list[str]:
        """Make multiplier, offset and shift of a word and the factor, with two more registers."""
        part, offset = free[:2]
        self.code.ops(self.shared.scale.unpack(registers[0], registers[1], part, offset))
        return [registers[0], offset, part]

    def scale(self, acc: str, registers: list[str]) -> list[list[str]]:
        """Instructions that turn a sum into a result; `registers` hold numbers, and what `of_layer` says."""
        lift = registers[-1] if self.shared.scale.lift is None else ""
        numbers = registers[: len(registers) - bool(lift)]
        return self.shared.scale.steps(acc, numbers[0], numbers[1], numbers[-1], lift)


class _Planes(TapProducts, _Writer):
    """Inputs of a byte: a word brings four neighbours x0 … x3, split into e = (x0, x2) and o = (x1, x3)."""

    def __init__(self, name: str, shared: Shared) -> None:
        free = ("e", "o", "w02", "w1", *(f"a{pixel}" for pixel in range(6)))
        super().__init__(name, shared, _PLANES_REGISTERS, free)
        self.fresh: set[int] = set()
        """Pixels whose first product adds to the start value, which lies in pixel 0's register."""

    def block(self, pixels: int) -> list[str]:
        code, stride = self.code, self.shared.stride
        if self.has_bytes:
            code.ops(self.start("{a0}", "{e}", "{o}"))
        else:
            code.op(f"ldr {{a0}}, {self.start_at}", "start value")
        self.fresh = {pixel for pixel in range(1, pixels) if pixel * stride < 4}
        code.ops([f"mov {{a{pixel}}}, {{a0}}" for pixel in range(1, pixels) if pixel not in self.fresh])
        for row in range(TAPS):
            self.row(row, pixels)
        free, places = ["e", "o", "w02", "w1"], [*self.own(), *self.of_layer()]
        registers = free[: len(places)]
        code.ops([f"ldr {{{name}}}, {where}" for name, where in zip(registers, places, strict=True)])
        registers = self.ready(registers, free[len(places) :])
        for pixel in range(pixels):
            for group in self.scale(f"a{pixel}", registers):
                code.ops(group)
        return [f"a{pixel}" for pixel in range(pixels)]

    def row(self, row: int, pixels: int) -> None:
        """One row of taps, word of inputs by word; the first load moves the row on."""
        code, stride = self.code, self.shared.stride
        move = pixels * stride
        words = ((pixels - 1) * stride + TAPS + 3) // 4
        ahead = [f"a{index}" for index in range(pixels, 6)][: words - 1]
        code.op(f"ldr {{w1}}, [{{wp}}, #{self.row_at(row)}]", "row")
        code.op(f"ldr {{e}}, [{{p{row}}}], #{move}")
        code.ops([f"ldr {{{name}}}, [{{p{row}}}, #{4 * (index + 1) - move}]" for index, name in enumerate(ahead)])
        code.ops([line.format(first="{w1}", second="{w02}") for line in SPLIT])
        for word in range(words):
            source = "e"
            if word:
                if word <= len(ahead):
                    source = ahead[word - 1]
                else:
                    code.op(f"ldr {{e}}, [{{p{row}}}, #{4 * word - move}]")
            code.ops([f"sxtb16 {{o}}, {{{source}}}, ror #8", f"sxtb16 {{e}}, {{{source}}}"])
            for pixel in reversed(range(pixels)):
                self.products(pixel, word * 4 - pixel * stride)


class _Wide(_Writer):
    """Widened inputs: a word brings two neighbours."""

    def __init__(self, name: str, shared: Shared, *, pairs_loads: bool) -> None:
        super().__init__(name, shared, _WIDE_REGISTERS, [name for name in _WIDE_REGISTERS if name.startswith("v")])
        self.pairs_loads = pairs_loads

    def block(self, pixels: int) -> list[str]:
        loads, products = [Load("start", "" if self.has_bytes else self.start_at)], list[Product]()
        if self.has_bytes:
            self.code.ops(self.start(*(f"{{{name}}}" for name in self.free[:3])))
        for row in range(TAPS):
            more_loads, more_products = self.row(row, pixels)
            loads += more_loads
            products += more_products
        kept = [Load(where, where) for where in self.own()]
        starts = dict.fromkeys(range(pixels), "start")
        order = Order(self.code, loads, products, kept, self.free, starts=starts, alternates=self.pairs_loads)
        order.write()
        spare = order.spare
        registers = self.ready([order.register(load.name) for load in kept], spare)
        of_layer = self.of_layer()
        self.code.ops([f"ldr {{{name}}}, {where}" for name, where in zip(spare, of_layer, strict=False)])
        registers += spare[: len(of_layer)]
        sums = [order.sums[pixel] for pixel in range(pixels)]
        sequences = [self.scale(acc, registers) for acc in sums]
        self.code.interleave(sequences, at_once=pixels if self.pairs_loads else 1)
        return sums

    def row(self, row: int, pixels: int) -> tuple[list[Load], list[Product]]:
        """Loads and products of one row of taps, word of inputs by word; the first load moves the row on."""
        stride, move = self.shared.stride, 2 * pixels * self.shared.stride
        second, first = f"pair {row}", f"other {row}"
        split = SPLIT if stride == 2 else SPLIT_WIDE
        loads = [Load(first, f"[{{wp}}, #{self.row_at(row)}]", second=second, split=split)]
        by_word: dict[int, list[Product]] = {}
        for pixel in range(pixels):
            word, half = divmod(pixel * stride, 2)
            names = [f"x{row} {word + index}" for index in range(2)]
            made = [
                (word, Product("smlad" if half == 0 else "smlatb", pixel, names[0], second)),
                (word + 1, Product("smlabb" if half == 0 and stride == 2 else "smlabt" if half == 0 else "smlad",
                                   pixel, names[1], first)),
            ]  # fmt: skip
            for place, product in made:
                by_word.setdefault(place, []).append(product)
        for position, word in enumerate(sorted(by_word)):
            offset = 4 * word - (move if position else 0)
            address = f"[{{p{row}}}, #{offset}]" if position else f"[{{p{row}}}], #{move}"
            loads.append(Load(f"x{row} {word}", address))
        return loads, [product for word in sorted(by_word) for product in by_word[word]]
