"""Assembly of depthwise convolutions on widened rows, pixel after pixel: blocks of up to six channels of one pixel.

For rows of one pixel, where neighbours are no use. A word brings two channels of a tap, another their weights, widened;
`SMLABB` and `SMLATT` multiply the halves.

The stream holds for each block: start values, the words of all taps, multiplier and offset (and lowering) of each
channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Function
from midge.kernels.depthwise_conv2d.order import Load, Order, Product
from midge.kernels.results_armv7em import Results
from midge.kernels.view import Rows
from midge.kernels.window import Window

_MOST_CHANNELS = 6
_FREE = tuple(f"v{index}" for index in range(11))
_REGISTERS = {f"v{index}": f"r{index}" for index in range(11)} | {"at": "r11", "p": "r12", "wp": "lr"}
_OUT_AT, _STREAM_AT, _PIXELS_END_AT, _SIXES_END_AT, _ROWS_AT = 0, 4, 8, 12, 16


@dataclass(frozen=True, slots=True)
class Shape:
    """What the code depends on. `pairs_loads`: the core issues a load beside a multiplication, so they alternate."""

    kh: int
    kw: int
    columns: int
    stride: int
    dilation: int
    channels: int
    pairs_loads: bool

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(channels, how often): sixes, and the rest."""
        sixes, rest = divmod(self.channels, _MOST_CHANNELS)
        return tuple((size, count) for size, count in ((_MOST_CHANNELS, sixes), (rest, 1)) if size and count)

    @property
    def pixel_bytes(self) -> int:
        return 2 * self.channels

    @property
    def farthest_bytes(self) -> int:
        """The last channel of a block from the row's pointer."""
        return (self.kw - 1) * self.dilation * self.pixel_bytes + 2 * _MOST_CHANNELS


def shape_of(window: Window, *, pairs_loads: bool) -> Shape:
    return Shape(
        window.kh, window.kw, window.y.columns, window.stride_w, window.dilation_w, window.x.channels, pairs_loads
    )


def weight_stream(weights: np.ndarray, shape: Shape, requantization: Results) -> np.ndarray:
    """int32 words in the order the code reads them. weights: int8 [1, KH, KW, channels], of an even number."""
    words = np.ascontiguousarray(weights[0].astype(np.int16)).view(np.int32).reshape(shape.kh * shape.kw, -1)
    starts, parameters = requantization.starts, requantization.parameters
    parts: list[np.ndarray] = []
    first = 0
    for size, count in shape.blocks:
        for _ in range(count):
            block, pairs = slice(first, first + size), slice(first // 2, (first + size) // 2)
            parts += [starts[block], words[:, pairs].reshape(-1), parameters[block].reshape(-1)]
            first += size
    return np.concatenate(parts).astype(np.int32)


def function(name: str, shape: Shape, requantization: Results, y: Rows, title: str) -> Function:
    """The function `void name(const int16_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, requantization, y, title).write()


class _Writer:
    """Frame: out, stream, end of the pixels, end of the blocks of six, row pointers. `at` is added to each of these."""

    def __init__(self, name: str, shape: Shape, requantization: Results, y: Rows, title: str) -> None:
        self.shape = shape
        self.form = requantization
        self.y = y
        self.code = Assembly(name, title, _REGISTERS, _ROWS_AT + 4 * shape.kh)

    def write(self) -> Function:
        code, shape = self.code, self.shape
        code.ops([f"str r1, [sp, #{_OUT_AT}]", "mov {wp}, r2", "mov {at}, #0"])
        for row in range(shape.kh):
            code.ops([f"ldr r3, [r0, #{4 * row}]", f"str r3, [sp, #{_ROWS_AT + 4 * row}]"])
        if shape.columns == 1:
            self.pixel()
        else:
            code.op(f"str {{wp}}, [sp, #{_STREAM_AT}]")
            code.constant("v3", shape.columns * shape.stride * shape.pixel_bytes)
            code.op(f"str {{v3}}, [sp, #{_PIXELS_END_AT}]")
            with code.loop("next pixel") as label:
                code.op(f"ldr {{wp}}, [sp, #{_STREAM_AT}]")
                self.pixel()
                code.add("at", (shape.stride - 1) * shape.pixel_bytes, "v3")
                code.ops([f"ldr {{v3}}, [sp, #{_PIXELS_END_AT}]", "cmp {at}, {v3}", f"bne {label}"])
        return code.function(f"void {code.name}(const int16_t *const *rows, void *out, const int32_t *stream)")

    def pixel(self) -> None:
        """All channels of a pixel."""
        code = self.code
        for size, count in self.shape.blocks:
            if count > 1:
                code.constant("v3", 4 * count * self.block_words(size))
                code.ops(["add {v3}, {wp}", f"str {{v3}}, [sp, #{_SIXES_END_AT}]"])
            with code.loop(f"next {size} channels") as label:
                self.block(size)
                if count > 1:
                    code.ops([f"ldr {{v0}}, [sp, #{_SIXES_END_AT}]", "cmp {wp}, {v0}", f"bne {label}"])

    def block_words(self, size: int) -> int:
        """Words of the stream for a block."""
        shape = self.shape
        return size * (1 + self.form.parameters.shape[1]) + shape.kh * shape.kw * size // 2

    def block(self, size: int) -> None:
        code, shape = self.code, self.shape
        loads = [Load(f"stream {channel}", f"[{{wp}}, #{4 * channel}]") for channel in range(size)]
        starts = {channel: load.name for channel, load in enumerate(loads)}
        products: list[Product] = []
        word = size
        for row in range(shape.kh):
            before = (f"ldr {{p}}, [sp, #{_ROWS_AT + 4 * row}]", "add {p}, {at}")
            for tap in range(shape.kw):
                for pair in range(size // 2):
                    offset = tap * shape.dilation * shape.pixel_bytes + 4 * pair
                    x, w = f"x{row} {tap} {pair}", f"stream {word}"
                    loads.append(Load(x, f"[{{p}}, #{offset}]", before if tap == pair == 0 else ()))
                    loads.append(Load(w, f"[{{wp}}, #{4 * word}]"))
                    products += [Product("smlabb", 2 * pair, x, w), Product("smlatt", 2 * pair + 1, x, w)]
                    word += 1
        kept = [Load("out", f"[sp, #{_OUT_AT}]")]
        order = Order(code, loads, products, kept, _FREE, starts=starts, alternates=shape.pairs_loads)
        order.write()
        code.ops([f"add {{at}}, #{2 * size}"])
        code.add("wp", 4 * word, order.spare[0])
        self.results(size, order)

    def results(self, size: int, order: Order) -> None:
        """Scale the sums and store them."""
        code, form = self.code, self.form
        out, count, bits = order.register("out"), form.parameters.shape[1], form.layout.fraction_bits
        at_once = len(order.spare) // count
        for channel in range(size):
            if channel % at_once == 0:
                own = sorted(order.spare[: count * min(at_once, size - channel)], key=lambda name: int(name[1:]))
                code.op("ldmia {wp}!, {{" + ", ".join(f"{{{name}}}" for name in own) + "}}")
            numbers = own[count * (channel % at_once) :][:count]
            acc = order.sums[channel]
            form.scale(code, acc, numbers[0], numbers[min(1, count - 1)], numbers[-1])
            if bits:
                code.op(f"lsl {{{acc}}}, #{bits}")
            store = "strb" if self.y.dtype.bytes == 1 else "strh"
            code.op(f"{store} {{{acc}}}, [{{{out}}}], #{self.y.dtype.bytes}")
        code.op(f"str {{{out}}}, [sp, #{_OUT_AT}]")
