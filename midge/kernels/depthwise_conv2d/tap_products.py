"""Products of a depthwise convolution's three taps with a word of bytes that `SXTB16` has split into even and odd."""

from __future__ import annotations

from midge.kernels.assembly import Assembly

TAPS = 3
_HALVES = ("b", "t")


class TapProducts:
    """A part of writers of such code: registers a0, a1 … are sums, e and o inputs, w02 and w1 weights."""

    code: Assembly
    fresh: set[int]
    """Pixels whose sum has no product as yet: it begins with that of pixel 0."""

    def products(self, pixel: int, first: int) -> None:
        """A pixel's taps among the four inputs of a word; `first` is the tap that the word's first input is."""
        taps = {at: first + at for at in range(4) if 0 <= first + at < TAPS}
        pair = next((at for at in (0, 1) if taps.get(at) == 0 and taps.get(at + 2) == 2), None)
        if pair is not None:
            self.product("smlad", pixel, "eo"[pair], "w02")
        for at, tap in taps.items():
            if pair is not None and tap != 1:
                continue
            weight, half = ("w1", "b") if tap == 1 else ("w02", _HALVES[tap // 2])
            self.product(f"smla{_HALVES[at // 2]}{half}", pixel, "eo"[at % 2], weight)

    def product(self, instruction: str, pixel: int, inputs: str, weights: str) -> None:
        source = 0 if pixel in self.fresh else pixel
        self.fresh.discard(pixel)
        self.code.op(f"{instruction} {{a{pixel}}}, {{{inputs}}}, {{{weights}}}, {{a{source}}}")
