"""The steps of convolutions on widened rows: loads and products (`wide` says what a step is)."""

from __future__ import annotations

from midge.kernels.assembly import Assembly
from midge.kernels.conv2d.wide import Shape, Step, slides


class Steps:
    """Writes steps of one or two channels (accumulators a0…, b0…) by up to 4 pixels, or of four channels by 2."""

    def __init__(self, code: Assembly, shape: Shape, pair_bytes: int, *, has_starts: bool) -> None:
        """`pair_bytes`: from the stream of a pair of channels to the next pair's."""
        self.code = code
        self.pair_bytes = pair_bytes
        self.pixel_bytes = shape.pixel_bytes
        self.has_starts = has_starts
        self.is_dual_issue = shape.is_dual_issue
        self.is_long = shape.is_long
        self.slides = shape.steps[0][0] is Step.SLIDING
        self.untouched: set[str] = set()
        """Accumulators without a product as yet."""

    def begin(self, pixels: int, channels: int, *, is_straight: bool) -> None:
        """Start values. First products that are not in a loop take them from pixel 0's register, or need none."""
        code, names = self.code, "abcd"[:channels]
        if self.is_long:
            self._begin_long(pixels, names)
            return
        if self.has_starts and channels == 4:
            self._load_weights(("a0", "b0"))
            self._load_second_pair(("c0", "d0"))
        elif self.has_starts:
            two = "ldrd {a0}, {b0}, [{wp}], #8"
            code.op(two if channels == 2 else "ldr {a0}, [{wp}], #4", "start values")
        self.untouched = {f"{name}{pixel}" for name in names for pixel in range(pixels)}
        if is_straight and not (self.has_starts and self.slides and slides(pixels)):
            return
        self.untouched.clear()
        if self.has_starts:
            code.ops([f"mov {{{name}{pixel}}}, {{{name}0}}" for pixel in range(1, pixels) for name in names])
        else:
            code.ops([f"mov {{{name}{pixel}}}, #0" for pixel in range(pixels) for name in names])

    def _begin_long(self, pixels: int, names: str) -> None:
        """Start values of 64 bits, in pairs of registers."""
        code, words = self.code, [f"{name}0{half}" for name in names for half in ("", "h")]
        if self.has_starts:
            code.op("ldmia {wp}!, {{" + ", ".join(f"{{{word}}}" for word in words) + "}}", "start values")
        else:
            code.ops([f"mov {{{word}}}, #0" for word in words])
        for pixel in range(1, pixels):
            code.ops([f"mov {{{word.replace('0', str(pixel))}}}, {{{word}}}" for word in words])

    def write(self, step: Step, pixels: int, channels: int, offset: int) -> None:
        """One step; its inputs lie `offset` from `xp`."""
        if step is Step.FULL:
            self._full(pixels, channels, offset)
        elif step is Step.HALF:
            self._half(pixels, channels, offset)
        elif slides(pixels):
            self._sliding(pixels, channels, offset)
        else:
            for tap in range(3):
                self._half(pixels, channels, offset + tap * self.pixel_bytes)

    def _full(self, pixels: int, channels: int, offset: int) -> None:
        """Four inputs of each pixel by four weights of each channel."""
        names = "ab"[:channels]
        self._load_weights(("wa", "wb")[:channels])
        for half, rotation in ((0, ""), (4, ", ror #8")):
            self._load_inputs(range(pixels), offset + half)
            for name in names:
                widened = "t" if half == 0 else f"w{name}"
                self.code.op(f"sxtb16 {{{widened}}}, {{w{name}}}{rotation}")
                for pixel in reversed(range(pixels)):
                    self._product(f"{name}{pixel}", f"x{pixel}", widened)

    def _half(self, pixels: int, channels: int, offset: int) -> None:
        """Two inputs of each pixel by two weights of each channel; of four pixels the last two first."""
        self._load_weights(("wa", "wb")[:channels])
        for part in (range(2, 4), range(2)) if pixels == 4 else (range(pixels),):
            self._load_inputs(part, offset)
            places = [(name, pixel) for name in "ab"[:channels] for pixel in reversed(part)]
            if self.is_dual_issue:  # an input's register is soon free for a load beside the next products
                places.sort(key=lambda place: -place[1])
            for name, pixel in places:
                self._product(f"{name}{pixel}", f"x{pixel - part.start}", f"w{name}")
        if channels == 4:
            self._load_second_pair(("wa", "wb"))
            for name, weights in (("c", "wa"), ("d", "wb")):
                for pixel in reversed(range(pixels)):
                    self._product(f"{name}{pixel}", f"x{pixel}", weights)

    def _sliding(self, pixels: int, channels: int, offset: int) -> None:
        """The inputs of 2 or 3 pixels' windows of three columns: columns 0 and 1, then 2 and 3, then 4 of three pixels.

        Weights of the first tap lie in wa and wb, of the second in x2 and t, of the third again in wa and wb.
        """
        first, second = ("wa", "wb")[:channels], ("x2", "t")[:channels]
        self._load_weights((*first, *second), ahead=channels)
        self._load_columns((0, 1), offset)
        self._tap(first, {0: "x0", 1: "x1"})
        self._tap(second, {0: "x1"})
        self._load_columns((2, 3), offset)
        if pixels == 2:
            self._reload(first, channels)
            self._tap(second, {1: "x0"})
            self._tap(first, {0: "x0", 1: "x1"})
            return
        self._tap(first, {2: "x0"})
        self._tap(second, {1: "x0", 2: "x1"})
        self._reload(first, channels)
        self.code.op(f"ldr {{x2}}, [{{xp}}, #{offset + 4 * self.pixel_bytes}]")
        self._tap(first, {0: "x0", 1: "x1", 2: "x2"})

    def _tap(self, weights: tuple[str, ...], columns: dict[int, str]) -> None:
        """Products of one tap: for each of some pixels the column that it reads."""
        for name, word in zip("ab", weights, strict=False):
            for pixel, x in columns.items():
                self._product(f"{name}{pixel}", x, word)

    def _load_weights(self, registers: tuple[str, ...], ahead: int = 0) -> None:
        """The next words of weights, and past `ahead` more.

        The load that advances is the last: a Cortex-M4 does not pipeline another one from the same register after it.
        """
        self.code.ops([f"ldr {{{name}}}, [{{wp}}, #{4 * i}]" for i, name in enumerate(registers) if i])
        self.code.op(f"ldr {{{registers[0]}}}, [{{wp}}], #{4 * (len(registers) + ahead)}")

    def _load_second_pair(self, registers: tuple[str, str]) -> None:
        """The same words of the next pair of channels as the last two of this pair."""
        self.code.ops([f"ldr {{{name}}}, [{{wp}}, #{self.pair_bytes - 8 + 4 * i}]" for i, name in enumerate(registers)])

    def _reload(self, registers: tuple[str, ...], channels: int) -> None:
        """The words that `_load_weights` went past."""
        self.code.ops([f"ldr {{{name}}}, [{{wp}}, #{4 * (i - channels)}]" for i, name in enumerate(registers)])

    def _load_inputs(self, pixels: range, offset: int) -> None:
        """A word of each pixel, into x0, x1 and so on."""
        for pixel in pixels:
            self.code.op(f"ldr {{x{pixel - pixels.start}}}, [{{xp}}, #{offset + pixel * self.pixel_bytes}]")

    def _load_columns(self, columns: tuple[int, int], offset: int) -> None:
        for name, column in zip(("x0", "x1"), columns, strict=True):
            self.code.op(f"ldr {{{name}}}, [{{xp}}, #{offset + column * self.pixel_bytes}]")

    def _product(self, acc: str, x: str, weights: str) -> None:
        """A pair of products. The first of an accumulator adds to the start value, in pixel 0's register, or to 0."""
        if self.is_long:
            self.code.op(f"smlald {{{acc}}}, {{{acc}h}}, {{{x}}}, {{{weights}}}")
            return
        if acc not in self.untouched:
            self.code.op(f"smlad {{{acc}}}, {{{x}}}, {{{weights}}}, {{{acc}}}")
            return
        self.untouched.discard(acc)
        if self.has_starts:
            self.code.op(f"smlad {{{acc}}}, {{{x}}}, {{{weights}}}, {{{acc[0]}0}}")
        else:
            self.code.op(f"smuad {{{acc}}}, {{{x}}}, {{{weights}}}")
