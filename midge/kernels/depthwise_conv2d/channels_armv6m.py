"""Assembly of depthwise convolutions without multiplications: code for each channel, since its weights are constants.

A channel's taps are in registers. Its weights are signed digits of powers of two: from the highest power down the sum
is doubled, and what has a digit there is added or subtracted. Requantisation is shifts and additions (`digits_armv6m`),
with the channel's own numbers. What all channels share stands once: a loop over the pixels of a row that loads taps and
jumps into the channel's code, and what stores a result and goes on. Columns of taps that the next pixel has too move
from register to register.

Rows are planes of unsigned bytes. The code of a channel is

    bl loop            lr: where the channel's code begins
    ...                taps to result
    bl stored          lr: where it ends, taken by the row's last pixel
    b next channel
"""

from __future__ import annotations

from functools import cache

import numpy as np

from midge.kernels.assembly_armv6m import ThumbAssembly
from midge.kernels.base import Function, Layout
from midge.kernels.depthwise_conv2d.columns import Shape
from midge.kernels.digits_armv6m import SHIFT, DigitScaling
from midge.kernels.view import Rows

_LOW_TAPS = ("r2", "r3", "r4", "r5", "r6", "r7")
_HIGH_TAPS = ("r8", "r9", "r10")
MOST_TAPS = len(_LOW_TAPS) + len(_HIGH_TAPS)
_REGISTERS = {"acc": "r0", "t": "r1", "result": "r2", "at": "r11", "code": "r12"}


def function(name: str, shape: Shape, weights: np.ndarray, starts: np.ndarray, scaling: DigitScaling, layout: Layout,
             y: Rows, title: str) -> Function:  # fmt: skip
    """`void name(const uint8_t *const *rows, void *out)`; weights int8 [kh, kw, channels]."""
    return _Writer(name, shape, weights, starts, scaling, layout, y, title).write()


class _Writer:
    """Frame: row pointers, out, out of the channel, where `at` ends."""

    def __init__(self, name: str, shape: Shape, weights: np.ndarray, starts: np.ndarray, scaling: DigitScaling,
                 layout: Layout, y: Rows, title: str) -> None:  # fmt: skip
        self.shape, self.weights, self.starts, self.scaling = shape, weights, starts, scaling
        self.layout, self.y = layout, y
        self.out_at, self.channel_out_at, self.end_at = (4 * (shape.kh + index) for index in range(3))
        self.code = ThumbAssembly(name, title, _REGISTERS, 4 * (shape.kh + 3 + (shape.kh + 3) % 2))
        self.loop, self.stored = self.code.new_label(), self.code.new_label()

    def tap(self, row: int, column: int) -> str:
        """The register of a tap: those of the first columns, which no later pixel has, are low ones."""
        return (*_LOW_TAPS, *_HIGH_TAPS)[column * self.shape.kh + row]

    def write(self) -> Function:
        code, shape = self.code, self.shape
        for row in range(shape.kh):
            code.ops(["ldmia r0!, {{r3}}", f"str r3, [sp, #{4 * row}]"])
        code.ops([f"str r1, [sp, #{self.out_at}]", f"str r1, [sp, #{self.channel_out_at}]", "movs {t}, #0",
                  "mov {at}, {t}"])  # fmt: skip
        code.constant("t", shape.columns * shape.stride)
        code.op(f"str {{t}}, [sp, #{self.end_at}]")
        first = code.new_label()
        code.op(f"b {first}")
        self.shared()
        code.place(first, "channels")
        for channel in range(shape.channels):
            self.channel(channel)
        return code.function(f"void {code.name}(const uint8_t *const *rows, void *out)")

    def shared(self) -> None:
        """Taps before a channel's code, and what comes after it."""
        code, shape = self.code, self.shape
        pixel, more = code.new_label(), code.new_label()
        kept = max(0, shape.kw - shape.stride)
        code.place(self.loop, "a channel's row")
        code.op("mov {code}, lr")
        self.load(range(kept))
        code.place(pixel, "next pixel")
        self.load(range(kept, shape.kw))
        code.op("mov pc, {code}")
        code.place(self.stored, "a result")
        code.ops([f"ldr {{t}}, [sp, #{self.out_at}]", "strb {result}, [{t}]"])
        code.add("t", self.y.pixel_bytes, "acc")
        code.ops([f"str {{t}}, [sp, #{self.out_at}]", f"movs {{t}}, #{shape.stride}", "add {at}, {t}",
                  f"ldr {{t}}, [sp, #{self.end_at}]", "cmp {at}, {t}", f"bne {more}"])  # fmt: skip
        code.ops([f"ldr {{t}}, [sp, #{self.channel_out_at}]", "adds {t}, #1",
                  f"str {{t}}, [sp, #{self.channel_out_at}]", f"str {{t}}, [sp, #{self.out_at}]",
                  "mov {acc}, {at}"])  # fmt: skip
        code.add("acc", shape.plane_bytes - shape.columns * shape.stride, "t")
        code.op("mov {at}, {acc}")
        code.add("acc", shape.columns * shape.stride, "t")
        code.ops([f"str {{acc}}, [sp, #{self.end_at}]", "bx lr"])
        code.place(more, "taps that it shares with the next pixel")
        for column in range(kept):
            for row in range(shape.kh):
                code.op(f"mov {self.tap(row, column)}, {self.tap(row, column + shape.stride)}")
        code.op(f"b {pixel}")

    def load(self, columns: range) -> None:
        """Columns of taps."""
        code = self.code
        for row in range(self.shape.kh if columns else 0):
            code.ops([f"ldr {{t}}, [sp, #{4 * row}]", "add {t}, {at}"])
            for column in columns:
                register = self.tap(row, column)
                if register in _LOW_TAPS:
                    code.op(f"ldrb {register}, [{{t}}, #{column}]")
                else:
                    code.ops([f"ldrb {{acc}}, [{{t}}, #{column}]", f"mov {register}, {{acc}}"])

    def channel(self, channel: int) -> None:
        code, after = self.code, self.code.new_label()
        code.note(f"channel {channel}: {self.weights[..., channel].tolist()}")
        code.op(f"bl {self.loop}")
        self.products(channel)
        self.requantize(channel)
        code.ops([f"bl {self.stored}", f"b {after}"])
        code.pool()
        code.place(after, "the next channel")

    def products(self, channel: int) -> None:
        """The sum of products, digit by digit."""
        code, pending, is_begun = self.code, 0, False
        taps = [
            (self.tap(row, column), digit)
            for row in range(self.shape.kh)
            for column in range(self.shape.kw)
            for digit in signed_digits(int(self.weights[row, column, channel]),
                                       is_high=self.tap(row, column) in _HIGH_TAPS)
        ]  # fmt: skip
        for power in range(max((power for _, (power, _) in taps), default=0), -1, -1):
            here = sorted((-sign, register) for register, (at, sign) in taps if at == power)
            if here and pending:
                code.op(f"lsls {{acc}}, {{acc}}, #{pending}")
                pending = 0
            for minus, register in here:
                if minus > 0 and register in _HIGH_TAPS:
                    code.op(f"mov {{t}}, {register}")
                    register = "{t}"
                if not is_begun:
                    code.op(f"negs {{acc}}, {register}" if minus > 0 else f"mov {{acc}}, {register}")
                    is_begun = True
                elif minus > 0:
                    code.op(f"subs {{acc}}, {{acc}}, {register}")
                else:
                    code.op(f"add {{acc}}, {register}")
            pending += is_begun
        if not is_begun:
            code.op("movs {acc}, #0")
        elif pending > 1:
            code.op(f"lsls {{acc}}, {{acc}}, #{pending - 1}")

    def requantize(self, channel: int) -> None:
        """The sum to the byte to store."""
        code, form = self.code, self.scaling
        row = channel if len(form.ends) > 1 else 0
        start, origin, lowering = int(self.starts[channel]), int(form.origins[row]), int(form.lowerings[row])
        begun = lowering != 0
        if begun:
            self.literal(start)
            code.ops(["adds {acc}, {acc}, {t}", "asrs {result}, {acc}, #31"])
            self.literal(lowering)
            code.op("ands {result}, {t}")
            self.literal(int(form.offsets[row]))
            code.op("subs {result}, {t}, {result}")
            start = 0
        self.literal(start - origin)
        code.op("adds {acc}, {acc}, {t}")
        self.literal(int(form.ends[row]))
        code.op("cmp {acc}, {t}")
        with code.skip("bls"):
            code.ops(["asrs {acc}, {acc}, #31", "mvns {acc}, {acc}", "ands {acc}, {t}"])
        if form.fractions[row]:
            code.op(f"lsls {{acc}}, {{acc}}, #{form.fractions[row]}")
        digits = form.digits(row)
        if not begun:
            self.literal(int(form.offsets[row]))
        for number, (shift, operation) in enumerate(digits):
            source = "{t}" if number == 0 and not begun else "{result}"
            other = "{acc}"
            if shift:
                other = "{result}" if number == 0 and not begun else "{t}"
                code.op(f"lsrs {other}, {{acc}}, #{shift}")
            code.op(f"{operation} {{result}}, {source}, {other}")
        if not digits and not begun:
            code.op("movs {result}, {t}")
        code.op(f"lsrs {{result}}, {{result}}, #{SHIFT}")
        base = (form.low + self.layout.excess) & 0xFF
        if base:
            code.op(f"adds {{result}}, #{base}")

    def literal(self, value: int) -> None:
        self.code.op(f"ldr {{t}}, ={value & 0xFFFF_FFFF:#x}")


@cache
def signed_digits(value: int, *, is_high: bool) -> tuple[tuple[int, int], ...]:
    """(power of two, sign) of the fewest instructions: a register of the higher ones can be added, not subtracted."""
    return _cheapest(value, 2 if is_high else 1)[1]


def _cheapest(value: int, minus_cost: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Instructions and digits."""
    if value in (-1, 0, 1):
        return (0, 1, minus_cost)[value], ((0, value),) if value else ()
    options = []
    for sign in (1, -1) if value % 2 else (0,):
        cost, digits = _cheapest((value - sign) // 2, minus_cost)
        digits = tuple((power + 1, own) for power, own in digits)
        options.append((cost + (0, 1, minus_cost)[sign], ((0, sign), *digits) if sign else digits))
    return min(options)
