"""What training takes and gives; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from midge.compress.ranges import Range
from midge.ir.graph import Graph

STEPS = 200
"""What the accuracy doctor tries."""
LEAST_SAMPLES = 4
_HELD_OUT = 4
"""Every fourth sample is not trained on."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """`steps` of gradient descent, each on a batch; the `seed` of the batches' order."""

    steps: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Calibration samples, and for each its class where the data say so: what is learned from, and what is not."""

    samples: Sequence[tuple[np.ndarray, ...]]
    labels: np.ndarray | None

    @property
    def held_out(self) -> list[int]:
        """Samples that training never sees, by which the best state is chosen."""
        return list(range(_HELD_OUT - 1, len(self.samples), _HELD_OUT))

    @property
    def taught(self) -> list[int]:
        return sorted(set(range(len(self.samples))) - set(self.held_out))


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A float graph whose weights survive rounding, and ranges of its values; `steps` that were done.

    `interrupted`: it was stopped before its end, and this is the best until then.
    """

    graph: Graph
    ranges: Mapping[str, Range]
    steps: int
    interrupted: bool
