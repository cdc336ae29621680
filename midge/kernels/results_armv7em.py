"""What writers of Armv7E-M code ask of the way from accumulators to results, whatever the results' type."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from midge.kernels.assembly import Assembly
from midge.kernels.base import Layout


class Results(Protocol):
    """Start values and parameters of each channel, and the instructions that scale an accumulator by them."""

    @property
    def layout(self) -> Layout:
        """The layout that results are stored in."""
        ...

    @property
    def low(self) -> int:
        """The lowest result."""
        ...

    @property
    def key(self) -> str:
        """What code depends on, for a function's name."""
        ...

    @property
    def starts(self) -> np.ndarray:
        """int32 [channels]: what accumulators start at; those of 64 bits two words, [channels, 2]."""
        ...

    @property
    def has_starts(self) -> bool:
        """False where all accumulators start at 0."""
        ...

    @property
    def parameters(self) -> np.ndarray:
        """int32 [channels, 1 to 3]: the numbers that come in registers."""
        ...

    def scale(self, code: Assembly, acc: str, multiplier: str, offset: str, third: str) -> None:
        """Instructions that turn an accumulator into the clamped result."""
        ...

    def steps(self, acc: str, multiplier: str, offset: str, third: str) -> list[list[str]]:
        """The instructions of `scale`, in groups that nothing may come between.

        The registers hold the parameters of the channel in their order; where there are fewer, the last one is named
        several times.
        """
        ...
