"""The rule by which firmware values equal reference values, and its application to many samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FLOAT_TOLERANCE = 1e-5
RULE = (
    "integers must be equal; float32: |a - b| <= 1e-5 * max|b| over the output tensor, b being the reference"
)  # fmt: skip
STEP_RULE = "at most one step of the output's quantisation apart, since the reference rounds in float32"


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Where the first differing value is."""

    sample: int
    output: int
    index: tuple[int, ...]
    firmware: float
    reference: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Totals over all values compared."""

    values: int = 0
    mismatches: int = 0
    max_abs_diff: float = 0
    max_rel_diff: float = 0.0
    """Largest |a - b| / max|b| of any output tensor."""
    first: FirstDifference | None = None

    def add(self, sample: int, firmware: Sequence[np.ndarray], reference: Sequence[np.ndarray],
            steps: Sequence[float] = ()) -> Comparison:  # fmt: skip
        """These totals with one more sample; `steps`, where given, say how far values of each output may be apart."""
        total = self
        allowed = steps or (0.0,) * len(reference)
        for output, (ours, theirs, step) in enumerate(zip(firmware, reference, allowed, strict=True)):
            total = total._add_tensor(sample, output, ours, theirs, step)
        return total

    def _add_tensor(self, sample: int, output: int, ours: np.ndarray, theirs: np.ndarray, step: float) -> Comparison:
        wrong, absolute, relative = differences(ours, theirs)
        if step and ours.shape == theirs.shape:
            # A little more than a step: two neighbours of float32 arithmetic are not exactly a step apart.
            wrong &= np.abs(ours.astype(np.float64) - theirs.astype(np.float64)) > 1.001 * step
        first = self.first
        if first is None and wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            first = FirstDifference(sample, output, index, ours[index].item(), theirs[index].item())
        return Comparison(
            self.values + ours.size, self.mismatches + int(wrong.sum()), max(self.max_abs_diff, absolute),
            max(self.max_rel_diff, relative), first,
        )  # fmt: skip


def differences(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Which values differ by `RULE`, the largest absolute difference, and that over the largest reference value.

    Values of another shape or type all differ. A NaN equals a NaN only, an infinity itself only.
    """
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return np.ones(ours.shape, bool), float("inf"), float("inf")
    if not ours.size:
        return np.zeros(ours.shape, bool), 0, 0.0
    if ours.dtype.kind != "f":
        distance = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        largest = int(np.abs(theirs.astype(np.int64)).max())
        most = int(distance.max())
        return distance != 0, most, most / max(largest, 1)
    return _float_differences(ours.astype(np.float64), theirs.astype(np.float64))


def _float_differences(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, float, float]:
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    finite = np.isfinite(ours) & np.isfinite(theirs)
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.where(finite, np.abs(ours - theirs), np.inf))
    magnitudes = np.abs(theirs[np.isfinite(theirs)])
    largest = float(magnitudes.max()) if magnitudes.size else 0.0
    most = float(distance.max())
    if most == 0.0:
        return ~same, 0.0, 0.0
    relative = most / largest if largest else float("inf")
    return distance > FLOAT_TOLERANCE * largest, most, relative
