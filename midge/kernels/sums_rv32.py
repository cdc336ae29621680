"""Assembly that takes the sums of `dots_rv32` apart, scales and stores them.

Sums of segments but the last are kept in the frame, a word for each channel and pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

from midge.kernels.assembly_rv32 import MOST_OFFSET, RiscvAssembly
from midge.kernels.packing_armv6m import WORD_BITS, Chain, Coding
from midge.kernels.packing_rv32 import made_at, making_order
from midge.kernels.requantize_rv32 import Requantization, Scratch
from midge.kernels.view import Rows


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are. `group_at` and `sums_at` are slots of the frame."""

    scratch: Scratch
    held: str
    """The register that takes a word's own sum."""
    group_at: int
    """The address of a group's first result; it is in `xp` while results are made."""
    sums_at: int
    y: Rows


class Sums:
    """The sums of a group of channels of a block of pixels: word w of pixel p is in `a<w>_<p>`."""

    def __init__(self, code: RiscvAssembly, form: Requantization, coding: Coding, pixels: int, segments: int,
                 places: Places) -> None:  # fmt: skip
        self.code, self.form, self.coding, self.pixels, self.places = code, form, coding, pixels, places
        self.has_kept = segments > 1
        self.passed = 0
        """How far `xp` is behind the group's place, while results are made."""
        self.read = 0
        """Bytes of parameters that were loaded."""

    def results(self) -> None:
        """Take all words apart, add what the frame has, scale and store."""
        self.begin_results()
        first = 0
        for chain in self.coding.chains:
            for word in range(chain.words):
                own, *shared = made_at(chain, word)
                self.load_parameters()
                for pixel in range(self.pixels):
                    self.load_kept(own, pixel)
                    self.finish(self.take_apart(chain, word, first + word, pixel), own, pixel)
                for channel in shared:
                    self.load_parameters()
                    for pixel in range(self.pixels):
                        self.load_kept(channel, pixel)
                        self.finish(f"a{first + word - 1}_{pixel}", channel, pixel)
            first += chain.words
        self.end_results()

    def load_kept(self, channel: int, pixel: int) -> None:
        """Load ahead what the frame has of a sum, where a register is free for it."""
        if self.has_kept and self.form.has_spare_third:
            self.code.op(f"lw {{{self.places.scratch.third}}}, {self.slot(channel, pixel)}(sp)")

    def add_kept(self, name: str, channel: int, pixel: int) -> None:
        loaded = self.places.scratch.third
        if not self.form.has_spare_third:
            loaded = "t"
            self.code.op(f"lw {{t}}, {self.slot(channel, pixel)}(sp)")
        self.code.op(f"add {{{name}}}, {{{name}}}, {{{loaded}}}")

    def collect(self, *, adds: bool) -> None:
        """Take all words apart; keep their sums in the frame, or add them to those that are there."""
        first = 0
        for chain in self.coding.chains:
            for word in range(chain.words):
                own, *shared = made_at(chain, word)
                for pixel in range(self.pixels):
                    self.load_collected(own, pixel, adds=adds)
                    self.keep(self.take_apart(chain, word, first + word, pixel), own, pixel, adds=adds)
                for channel in shared:
                    for pixel in range(self.pixels):
                        self.load_collected(channel, pixel, adds=adds)
                        self.keep(f"a{first + word - 1}_{pixel}", channel, pixel, adds=adds)
            first += chain.words

    def load_collected(self, channel: int, pixel: int, *, adds: bool) -> None:
        if adds:
            self.code.op(f"lw {{{self.places.scratch.multiplier}}}, {self.slot(channel, pixel)}(sp)")

    def keep(self, name: str, channel: int, pixel: int, *, adds: bool) -> None:
        if adds:
            self.code.op(f"add {{{name}}}, {{{name}}}, {{{self.places.scratch.multiplier}}}")
        self.code.op(f"sw {{{name}}}, {self.slot(channel, pixel)}(sp)")

    def slot(self, channel: int, pixel: int) -> int:
        """Where the frame has a channel's sum."""
        return self.places.sums_at + 4 * (channel * self.pixels + pixel)

    def results_of_segments(self) -> None:
        """Scale and store the sums in the frame."""
        self.begin_results()
        for channel in making_order(self.coding):
            self.code.ops([f"lw {{a0_{pixel}}}, {self.slot(channel, pixel)}(sp)" for pixel in range(self.pixels)])
            self.load_parameters()
            for pixel in range(self.pixels):
                self.finish(f"a0_{pixel}", channel, pixel, is_whole=True)
        self.end_results()

    def begin_results(self) -> None:
        self.code.op(f"lw {{xp}}, {self.places.group_at}(sp)")
        self.form.set_limit(self.code, self.places.scratch)
        self.passed = self.read = 0

    def end_results(self) -> None:
        """Stream and out to the next group."""
        self.code.add("wp", self.read, "t")
        self.place(self.coding.channels * self.channel_bytes, reach=0)
        self.code.op(f"sw {{xp}}, {self.places.group_at}(sp)")

    def load_parameters(self) -> None:
        self.form.load(self.code, "wp", self.read, self.places.scratch)
        self.read += 4 * self.form.parameters.shape[1]

    @property
    def channel_bytes(self) -> int:
        return self.places.y.plane_bytes if self.form.layout.planes else 1

    def finish(self, name: str, channel: int, pixel: int, *, is_whole: bool = False) -> None:
        """A sum to its byte; it may be the last segment's alone."""
        if self.has_kept and not is_whole:
            self.add_kept(name, channel, pixel)
        self.form.scale(self.code, name, self.places.scratch)
        at = self.place(channel * self.channel_bytes + pixel * self.places.y.pixel_bytes, reach=MOST_OFFSET)
        self.code.op(f"sb {{{name}}}, {at}({{xp}})")

    def place(self, at: int, *, reach: int) -> int:
        """The offset from `xp` of a byte of the group; `xp` is moved there where it is out of reach."""
        if abs(at - self.passed) > reach:
            self.code.add("xp", at - self.passed, "t")
            self.passed = at
        return at - self.passed

    def take_apart(self, chain: Chain, word: int, index: int, pixel: int) -> str:
        """The register with a word's own sum.

        The word keeps what is known of the next shared sum; the word before becomes the sum that the two share.
        """
        code, held = self.code, self.places.held
        name, last = f"a{index}_{pixel}", f"a{index - 1}_{pixel}"
        own, before, after = chain.fields(word)
        if own == WORD_BITS:
            return name
        known = chain.fields(word - 1)[2] if word else 0
        shift = own - known if word else 0
        if word:
            if shift:
                code.op(f"slli {{t}}, {{{last}}}, {shift}")
            code.op(f"sub {{{name}}}, {{{name}}}, {{{'t' if shift else last}}}")
        code.ops([f"slli {{{held}}}, {{{name}}}, {WORD_BITS - own}", f"srai {{{held}}}, {{{held}}}, {WORD_BITS - own}"])
        if after or word:
            code.op(f"sub {{{name}}}, {{{name}}}, {{{held}}}")
        rest = name
        if word and after:
            rest = "t"
            code.ops([f"slli {{t}}, {{{name}}}, {after}", f"srai {{t}}, {{t}}, {after}",
                      f"sub {{{name}}}, {{{name}}}, {{t}}"])  # fmt: skip
        if after:
            code.op(f"srli {{{name}}}, {{{name}}}, {own + before}")
        if word:
            if shift:
                code.op(f"srai {{{rest}}}, {{{rest}}}, {shift}")
            code.op(f"add {{{last}}}, {{{last}}}, {{{rest}}}")
        return held
