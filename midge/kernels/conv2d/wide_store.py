"""The end of a block of a convolution: its accumulators are scaled, clamped and stored in the result's layout."""

from __future__ import annotations

from midge.kernels.assembly import Assembly
from midge.kernels.requantize_armv7em import Requantization
from midge.kernels.view import Rows

_MOST_OFFSET = 4095


class Store:
    """Writes a block of up to 4 pixels by 2 channels. Between blocks the result's address is in the frame."""

    def __init__(self, code: Assembly, requantization: Requantization, y: Rows) -> None:
        self.code = code
        self.form = requantization
        self.pixel_bytes = y.pixel_bytes
        self.plane_bytes = y.plane_bytes

    def channel_bytes(self, channels: int) -> int:
        """From a channel of a pixel to the channel that many further."""
        if self.form.layout.planes:
            return channels * self.plane_bytes
        return channels * self.form.layout.dtype.bytes

    def write(self, pixels: int, channels: int, slot: int, advance: int) -> None:
        """Scale and store; the address in `slot` of the frame advances."""
        code = self.code
        self.scale(pixels, channels)
        out, temporary = ("x0", "x1") if pixels == 4 else ("t", "x0")
        code.op(f"ldr {{{out}}}, [sp, #{slot}]")
        advanced = 0
        for channel, name in enumerate("ab"[:channels]):
            if self.form.layout.planes and channel and self.plane_bytes + 3 > _MOST_OFFSET:
                code.add(out, self.plane_bytes, temporary)
                advanced = self.plane_bytes
            self.store(name, pixels, channels, out, self.channel_bytes(channel) - advanced)
        code.add(out, advance - advanced, temporary)
        code.op(f"str {{{out}}}, [sp, #{slot}]")

    def scale(self, pixels: int, channels: int) -> None:
        """Results in place of the accumulators; their parameters follow the weights."""
        code, form = self.code, self.form
        count = form.parameters.shape[1]
        free = ("wa", "wb", "x0", "x1") if pixels == 4 else ("wa", "wb", "x0", "x1", "x2", "t")
        together = max(1, min(channels, len(free) // count))
        for first in range(0, channels, together):
            names = "ab"[first : min(first + together, channels)]
            registers = free[: len(names) * count]
            code.op("ldmia {wp}!, {{" + ", ".join(f"{{{name}}}" for name in registers) + "}}", "multipliers, offsets")
            for index, name in enumerate(names):
                own = registers[index * count : (index + 1) * count]
                for pixel in range(pixels):
                    form.scale(code, f"{name}{pixel}", own[0], own[1], own[-1])

    def store(self, name: str, pixels: int, channels: int, out: str, at: int) -> None:
        """One channel of the block; its first pixel lies `at` bytes from `out`."""
        code, bits = self.code, self.form.layout.fraction_bits
        packs = channels == 2 and bits is not None and self.form.low == 0
        for pixel in range(pixels):
            address = f"[{{{out}}}, #{at + pixel * self.pixel_bytes}]"
            if bits is None:
                code.op(f"strb {{{name}{pixel}}}, {address}")
            elif not packs:
                code.op(f"lsl {{{name}{pixel}}}, #{bits}")
                code.op(f"strh {{{name}{pixel}}}, {address}")
            elif name == "a":
                code.op(f"pkhbt {{a{pixel}}}, {{a{pixel}}}, {{b{pixel}}}, lsl #16", "two values, none negative")
                code.op(f"lsl {{a{pixel}}}, #{bits}")
                code.op(f"str {{a{pixel}}}, {address}")
