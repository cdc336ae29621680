"""Ranges of activations, from what calibration data make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from midge.errors import UsageError
from midge.ir.graph import Graph
from midge.ir.interpret import run_graph_values

Method = Literal["min-max", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = ("min-max", "percentile", "mse", "entropy")
_BINS = 2048
_KEPT_PERCENT = 99.99
_STEPS = 256
"""Integers of 8 bits."""
_SHRINKS = np.linspace(0.3, 1.0, 71)
"""Fractions of the whole range that are tried as clipping ranges."""

Sample = Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class Range:
    """What a value is quantised for: low <= 0 <= high."""

    low: float
    high: float

    def joined(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often a value lies where: `counts` of equal bins from `low` to `high`, the extremes that were seen."""

    low: float
    high: float
    counts: np.ndarray

    @property
    def centres(self) -> np.ndarray:
        width = (self.high - self.low) / len(self.counts)
        return self.low + (np.arange(len(self.counts)) + 0.5) * width


def histograms(graph: Graph, samples: Iterable[Sample], progress: Callable[[int], None] | None = None
               ) -> dict[str, Histogram]:  # fmt: skip
    """The histogram of every float value of a graph over all samples, which are run twice: for extremes, and to count.

    Raises UsageError where a sample makes values that are not finite.
    """
    kept = list(samples)
    if not kept:
        raise UsageError("calibration data", "no samples", "at least one")
    lows: dict[str, float] = {}
    highs: dict[str, float] = {}
    for number, sample in enumerate(kept):
        for name, array in _activations(graph, sample).items():
            if not np.isfinite(array).all():
                raise UsageError(f"calibration sample {number}", f"{name} becomes infinite or NaN", "finite values",
                                 "Check the data's preprocessing, and the model in float")  # fmt: skip
            lows[name] = min(lows.get(name, 0.0), float(array.min()))
            highs[name] = max(highs.get(name, 0.0), float(array.max()))
        if progress is not None:
            progress(number + 1)
    counts = {name: np.zeros(_BINS, np.int64) for name in lows}
    for number, sample in enumerate(kept):
        for name, array in _activations(graph, sample).items():
            if highs[name] > lows[name]:
                counts[name] += np.histogram(array, _BINS, (lows[name], highs[name]))[0]
        if progress is not None:
            progress(len(kept) + number + 1)
    return {name: Histogram(lows[name], highs[name], counts[name]) for name in lows}


def _activations(graph: Graph, sample: Sample) -> dict[str, np.ndarray]:
    values = run_graph_values(graph, sample)
    return {
        name: array
        for name, array in values.items()
        if array.dtype == np.float32 and array.size and not graph.values[name].is_constant
    }


def range_of(histogram: Histogram, method: Method) -> Range:
    """The range to quantise for.

    `min-max`: all that was seen. `percentile`: without the outer 0.01 % of values. `mse`: where rounding and clipping
    to 256 steps together do the least mean squared error. `entropy`: where the distribution after them is nearest to
    the one before (Kullback-Leibler divergence; Migacz, 8-bit Inference with TensorRT, GTC 2017).
    """
    whole = Range(min(histogram.low, 0.0), max(histogram.high, 0.0))
    if method == "min-max" or histogram.counts.sum() == 0:
        return whole
    if method == "percentile":
        return _percentile(histogram)
    loss = _squared_error if method == "mse" else _divergence
    return min(_candidates(whole), key=lambda candidate: loss(histogram, candidate))


def _percentile(histogram: Histogram) -> Range:
    total = np.cumsum(histogram.counts)
    outside = total[-1] * (1 - _KEPT_PERCENT / 100) / 2
    edges = np.linspace(histogram.low, histogram.high, _BINS + 1)
    low = edges[int(np.searchsorted(total, outside))]
    high = edges[min(int(np.searchsorted(total, total[-1] - outside)) + 1, _BINS)]
    return Range(min(float(low), 0.0), max(float(high), 0.0))


def _candidates(whole: Range) -> list[Range]:
    """The whole range first, so that it wins where clipping brings nothing."""
    return [Range(whole.low * float(shrink), whole.high * float(shrink)) for shrink in _SHRINKS[::-1]]


def _rounded(histogram: Histogram, candidate: Range) -> np.ndarray:
    """What the centres of the bins become."""
    step = max((candidate.high - candidate.low) / (_STEPS - 1), 1e-30)
    zero = round(-candidate.low / step)
    return (np.clip(np.rint(histogram.centres / step) + zero, 0, _STEPS - 1) - zero) * step


def _squared_error(histogram: Histogram, candidate: Range) -> float:
    return float(((_rounded(histogram, candidate) - histogram.centres) ** 2 * histogram.counts).sum())


def _divergence(histogram: Histogram, candidate: Range) -> float:
    """From the distribution clipped to the candidate, to that of its 256 steps spread evenly over their bins."""
    centres, counts = histogram.centres, histogram.counts.astype(np.float64)
    inside = (centres >= candidate.low) & (centres <= candidate.high)
    if not inside.any():
        return float("inf")
    clipped = counts[inside].copy()
    clipped[0] += counts[centres < candidate.low].sum()
    clipped[-1] += counts[centres > candidate.high].sum()
    step = max((candidate.high - candidate.low) / (_STEPS - 1), 1e-30)
    bins = np.rint((centres[inside] - candidate.low) / step).astype(np.int64)
    used = counts[inside] > 0
    sums = np.bincount(bins, counts[inside], minlength=_STEPS + 1)
    filled = np.bincount(bins[used], minlength=_STEPS + 1)
    spread = np.where(used, sums[bins] / np.maximum(filled[bins], 1), 0.0)
    p, q = clipped / clipped.sum(), spread / max(spread.sum(), 1e-30)
    mask = p > 0
    return float((p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-12))).sum())


def ranges(found: Mapping[str, Histogram], method: Method) -> dict[str, Range]:
    return {name: range_of(histogram, method) for name, histogram in found.items()}
