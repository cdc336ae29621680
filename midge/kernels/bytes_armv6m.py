"""As `dots_armv6m`, with weights of one byte: four channels in a word, one multiplication each.

`ASRS` by 8, 16 or 24 gives a byte with all those above it, which no one has to mask off: sums are linear, so the sum
of what stands above is subtracted once at the end. For that the bytes below the top one must not be negative: they
hold w + 128, and 128 times the sum of the inputs, computed once for a pixel, is subtracted too.

The stream holds, for each group of eight channels: start values, the weights of all taps, the parameters of
requantisation (once, where all channels have the same).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.kernels.base import Function
from midge.kernels.dots_armv6m import PixelWriter, Shape
from midge.kernels.requantize_armv6m import Requantization
from midge.kernels.view import Rows

_GROUP = 8
_IN_WORD = 4
_EXCESS = 128
_REGISTERS = {
    "xp": "r0", "wp": "r1", "x": "r2", "v0": "r3", "v1": "r4", "t": "r5", "a6": "r6", "a7": "r7",
    "a0": "r8", "a1": "r9", "a2": "r10", "a3": "r11", "a4": "r12", "a5": "lr",
    "w0": "r3", "p0": "r4", "p1": "r5", "p2": "r6", "p3": "r7",
}  # fmt: skip
_SPARES = ("p0", "p1", "p2", "p3")
_LOW_SUMS = ("a6", "a7")


@dataclass(frozen=True, slots=True, eq=False)
class ByteWeights:
    """Weights [channels, taps] of a layer, and what its sums start at."""

    weights: np.ndarray
    starts: np.ndarray

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """(channels, how often)."""
        full, rest = divmod(len(self.weights), _GROUP)
        return tuple((channels, count) for channels, count in ((_GROUP, full), (rest, 1)) if channels and count)

    def stream(self, requantization: Requantization) -> np.ndarray:
        """int32 words in the order the code reads them."""
        parts: list[np.ndarray] = []
        first = 0
        for channels, count in self.groups:
            for _ in range(count):
                group = slice(first, first + channels)
                parts += [_linked(self.starts[group]), _words(self.weights[group])]
                parameters = requantization.parameters[group]
                parts.append((parameters[:1] if requantization.is_uniform else parameters).reshape(-1))
                first += channels
        return np.concatenate(parts)


def _linked(starts: np.ndarray) -> np.ndarray:
    """Start values of sums that hold those of the channels above them in the word too."""
    found = [int(start) for start in starts]
    for channel in range(len(found) - 1, -1, -1):
        if channel % _IN_WORD < _IN_WORD - 1 and channel + 1 < len(found):
            found[channel] += found[channel + 1] << 8
    return (np.array([value & 0xFFFF_FFFF for value in found], np.int64)).astype(np.uint32).view(np.int32)


def _words(weights: np.ndarray) -> np.ndarray:
    """Weights [channels, taps] as words, tap by tap."""
    columns = []
    for first in range(0, len(weights), _IN_WORD):
        part = weights[first : first + _IN_WORD].astype(np.int64)
        word = part[-1] << (8 * (len(part) - 1))
        for index in range(len(part) - 1):
            word = word + ((part[index] + _EXCESS) << (8 * index))
        columns.append(word)
    return (np.stack(columns, axis=-1) & 0xFFFF_FFFF).astype(np.uint32).view(np.int32).reshape(-1)


def function(name: str, shape: Shape, weights: ByteWeights, requantization: Requantization, y: Rows, title: str
             ) -> Function:  # fmt: skip
    """The function `void name(const uint8_t *const *rows, void *out, const int32_t *stream)`."""
    return _Writer(name, shape, weights, requantization, y, title).write()


class _Writer(PixelWriter):
    def __init__(self, name: str, shape: Shape, weights: ByteWeights, requantization: Requantization, y: Rows,
                 title: str) -> None:  # fmt: skip
        super().__init__(name, shape, requantization, y, title, _REGISTERS)
        self.weights = weights
        self.total_at = self.sums_at + 4 * len(_LOW_SUMS)

    def pixel(self) -> None:
        code = self.code
        self.total()
        code.ops([f"ldr {{w0}}, [sp, #{self.out_at}]", f"str {{w0}}, [sp, #{self.group_at}]",
                  f"ldr {{wp}}, [sp, #{self.stream_at}]"])  # fmt: skip
        for channels, count in self.weights.groups:
            self.counted(count, lambda channels=channels: self.group(channels), f"next {channels} channels")

    def total(self) -> None:
        """128 times the sum of the inputs."""
        code = self.code
        code.op("movs {v0}, #0", "sum of inputs")
        for row in range(self.shape.kh):
            code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
            self.run(self.shape.run, self._add_input, "t")
        code.ops(["lsls {v0}, {v0}, #7", f"str {{v0}}, [sp, #{self.total_at}]"])

    def _add_input(self, at: int) -> None:
        self.code.ops([f"ldrb {{x}}, [{{xp}}, #{at}]", "adds {v0}, {v0}, {x}"])

    def group(self, channels: int) -> None:
        code = self.code
        for channel in range(channels):
            if f"a{channel}" in _LOW_SUMS:
                code.op(f"ldmia {{wp}}!, {{{{{{a{channel}}}}}}}", "start value")
            else:
                code.ops(["ldmia {wp}!, {{{t}}}", f"mov {{a{channel}}}, {{t}}"])

        def step(at: int) -> None:
            self.step(channels, at)

        for row in range(self.shape.kh):
            code.op(f"ldr {{xp}}, [sp, #{4 * row}]")
            self.run(self.shape.run, step, "t")
        self.results(channels)
        self.next_group(channels, "w0")

    def step(self, channels: int, at: int) -> None:
        """One input by the weights of all channels."""
        code = self.code
        code.op(f"ldrb {{x}}, [{{xp}}, #{at}]")
        code.op("ldmia {wp}!, {{{v0}, {v1}}}" if channels > _IN_WORD else "ldmia {wp}!, {{{v0}}}")
        for channel in range(channels - 1, -1, -1):
            word, index = divmod(channel, _IN_WORD)
            product = "t" if index else f"v{word}"
            if index:
                code.op(f"asrs {{t}}, {{v{word}}}, #{8 * index}")
            code.op(f"muls {{{product}}}, {{x}}, {{{product}}}")
            code.op(f"add {{a{channel}}}, {{{product}}}")

    def results(self, channels: int) -> None:
        """Take the sums apart, scale and store them."""
        code, form = self.code, self.form
        for index, name in enumerate(_LOW_SUMS):
            if int(name[1:]) < channels:
                code.op(f"str {{{name}}}, [sp, #{self.sums_at + 4 * index}]")
        code.ops([f"ldr {{xp}}, [sp, #{self.group_at}]", f"ldr {{x}}, [sp, #{self.total_at}]"])
        if form.is_uniform:
            code.op("ldmia {wp}!, {{{p0}, {p1}, {p2}}}")
        for channel in range(channels):
            self._fetch("w0", channel)
            if channel % _IN_WORD < _IN_WORD - 1 and channel + 1 < channels:
                self._fetch("p3", channel + 1)
                code.ops(["lsls {p3}, {p3}, #8", "subs {w0}, {w0}, {p3}", "subs {w0}, {w0}, {x}"])
            if form.is_uniform:
                form.apply(code, "w0", _SPARES)
            else:
                form.scale(code, "w0", "wp", _SPARES)
            self.store(channel, "w0", "p3")

    def _fetch(self, to: str, channel: int) -> None:
        name = f"a{channel}"
        if name in _LOW_SUMS:
            self.code.op(f"ldr {{{to}}}, [sp, #{self.sums_at + 4 * _LOW_SUMS.index(name)}]")
        else:
            self.code.op(f"mov {{{to}}}, {{{name}}}")
