"""The rule by which values are equal, on hand-made arrays."""

from __future__ import annotations

import numpy as np
import pytest

from midge.reference.compare import Comparison, differences

F = np.float32
INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("ours", "theirs", "wrong", "absolute", "relative"),
    [
        (np.int8([1, -128]), np.int8([1, -128]), [0, 0], 0, 0),
        (np.int8([127, 5]), np.int8([-128, 5]), [1, 0], 255, 255 / 128),
        (np.int8([3]), np.uint8([3]), [1], INF, INF),
        (np.int8([[3]]), np.int8([3]), [[1]], INF, INF),
        (F([1.0, 0.0]), F([1.0, 0.0]), [0, 0], 0, 0),
        (F([0.0]), F([-0.0]), [0], 0, 0),
        (F([100.0, 0.0009]), F([100.0, 0.0]), [0, 0], F(0.0009), F(0.0009) / 100),
        (F([100.0, 0.0011]), F([100.0, 0.0]), [0, 1], F(0.0011), F(0.0011) / 100),
        (F([1e-30]), F([0.0]), [1], F(1e-30), INF),
        (F([NAN, 1]), F([NAN, 1]), [0, 0], 0, 0),
        (F([NAN, 1]), F([1, 1]), [1, 0], INF, INF),
        (F([INF, 1]), F([INF, 1]), [0, 0], 0, 0),
        (F([INF, 1]), F([-INF, 1]), [1, 0], INF, INF),
        (F([]), F([]), [], 0, 0),
    ],
)
def test_differences(ours: np.ndarray, theirs: np.ndarray, wrong: list, absolute: float, relative: float) -> None:
    found, most, most_relative = differences(ours, theirs)
    assert found.astype(int).tolist() == wrong
    assert most == pytest.approx(absolute, rel=1e-12)
    assert most_relative == pytest.approx(relative, rel=1e-12)


def test_totals_name_the_first_difference() -> None:
    good, bad = np.zeros((1, 2, 2), np.int8), np.int8([[[0, 0], [7, 9]]])
    total = Comparison().add(0, (good, good), (good, good)).add(1, (good, bad), (good, good)).add(2, (bad,), (good,))
    assert (total.values, total.mismatches, total.max_abs_diff) == (20, 4, 9)
    assert total.first is not None
    assert (total.first.sample, total.first.output, total.first.index) == (1, 1, (0, 1, 0))
    assert (total.first.firmware, total.first.reference) == (7, 0)
