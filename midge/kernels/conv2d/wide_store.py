"""The end of a block of a convolution: its accumulators are scaled, clamped and stored in the result's layout."""

from __future__ import annotations

from midge.kernels.assembly import Assembly
from midge.kernels.results_armv7em import Results
from midge.kernels.view import Rows

_MOST_OFFSET = 4095
_MOST_OUTPUTS = 8


class Store:
    """Writes a block of up to 4 pixels by 2 channels, or of 2 by 4. The frame keeps the result's address."""

    def __init__(self, code: Assembly, requantization: Results, y: Rows, pair_bytes: int, *, is_long: bool) -> None:
        """`pair_bytes`: from the stream of a pair of channels to the next pair's. `is_long`: sums have 64 bits."""
        self.code = code
        self.form = requantization
        self.pixel_bytes = y.pixel_bytes
        self.plane_bytes = y.plane_bytes
        self.pair_bytes = pair_bytes
        self.is_long = is_long

    def channel_bytes(self, channels: int) -> int:
        """From a channel of a pixel to the channel that many further."""
        if self.form.layout.planes:
            return channels * self.plane_bytes
        return channels * self.form.layout.dtype.bytes

    def write(self, pixels: int, channels: int, slot: int, advance: int | None, passed: int = 0) -> None:
        """Scale and store `passed` bytes after the address in `slot` of the frame, which then advances."""
        code = self.code
        self.scale(pixels, channels)
        out, temporary = ("x0", "x1") if pixels * channels == _MOST_OUTPUTS else ("t", "x0")
        code.op(f"ldr {{{out}}}, [sp, #{slot}]")
        advanced = 0
        for channel, name in enumerate("abcd"[:channels]):
            at = passed + self.channel_bytes(channel) - advanced
            if at + 2 * pixels > _MOST_OFFSET and self.form.layout.planes:
                code.add(out, at, temporary)
                advanced, at = advanced + at, 0
            self.store(name, pixels, channels, out, at)
        if advance is not None:
            code.add(out, advance - advanced, temporary)
            code.op(f"str {{{out}}}, [sp, #{slot}]")

    def scale(self, pixels: int, channels: int) -> None:
        """Results in place of the accumulators; their parameters follow the weights."""
        code, form = self.code, self.form
        count = form.parameters.shape[1]
        free = ("wa", "wb", "x0", "x1") + (() if pixels * channels == _MOST_OUTPUTS else ("x2", "t"))
        free = free[:2] if self.is_long else free
        together = max(1, min(channels, 2, len(free) // count))
        for first in range(0, channels, together):
            names = "abcd"[first : min(first + together, channels)]
            registers = free[: len(names) * count]
            if first < 2:
                listed = ", ".join(f"{{{name}}}" for name in registers)
                code.op("ldmia {wp}!, {{" + listed + "}}", "multipliers, offsets")
            else:
                at = self.pair_bytes + 4 * count * (first - 4)
                code.ops([f"ldr {{{name}}}, [{{wp}}, #{at + 4 * i}]" for i, name in enumerate(registers)])
            for index, name in enumerate(names):
                own = registers[index * count : (index + 1) * count]
                for pixel in range(pixels):
                    form.scale(code, f"{name}{pixel}", own[0], own[min(1, count - 1)], own[-1])
        if channels == 4:
            code.add("wp", self.pair_bytes, "x0")

    def store(self, name: str, pixels: int, channels: int, out: str, at: int) -> None:
        """One channel of the block; its first pixel lies `at` bytes from `out`."""
        code, bits = self.code, self.form.layout.fraction_bits
        packs = channels > 1 and bool(bits) and self.form.low == 0
        second = {"a": "b", "c": "d"}.get(name)
        for pixel in range(pixels):
            acc = f"{{{name}{pixel}}}"
            address = f"[{{{out}}}, #{at + pixel * self.pixel_bytes}]"
            if not bits:
                code.op(f"{'strb' if self.form.layout.dtype.bytes == 1 else 'strh'} {acc}, {address}")
            elif not packs:
                code.op(f"lsl {acc}, #{bits}")
                code.op(f"strh {acc}, {address}")
            elif second:
                code.op(f"pkhbt {acc}, {acc}, {{{second}{pixel}}}, lsl #16", "two values, none negative")
                code.op(f"lsl {acc}, #{bits}")
                code.op(f"str {acc}, {address}")
