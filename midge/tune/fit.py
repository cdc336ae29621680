"""From measurements to a table: for each kernel a cost that is linear in sizes of the layer, nowhere falling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midge.plan.costs import CODE_TERMS, CYCLE_TERMS, WEIGHT_TERMS, KernelModel

_ROUNDS = 20_000
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Sample:
    """One layer under the kernel: its sizes (`plan.costs.sizes`), and what was measured."""

    sizes: dict[str, float]
    cycles: float
    weight_bytes: float
    code_bytes: float


def fit(samples: Sequence[Sample]) -> KernelModel:
    """The model with the least relative errors, squared and added up."""
    cycles = np.array([sample.cycles for sample in samples], np.float64)
    coefficients = _fitted(samples, CYCLE_TERMS, cycles)
    predicted = _matrix(samples, CYCLE_TERMS) @ coefficients
    error = float(np.sqrt(np.mean((predicted / np.maximum(cycles, 1) - 1) ** 2)))
    weights = _fitted(samples, WEIGHT_TERMS, np.array([sample.weight_bytes for sample in samples], np.float64))
    code = _fitted(samples, CODE_TERMS, np.array([sample.code_bytes for sample in samples], np.float64))
    return KernelModel(_rounded(coefficients), _rounded(weights), _rounded(code), round(error, 4), len(samples))


def _matrix(samples: Sequence[Sample], terms: Sequence[str]) -> np.ndarray:
    return np.array([[sample.sizes[term] for term in terms] for sample in samples], np.float64)


def _fitted(samples: Sequence[Sample], terms: Sequence[str], values: np.ndarray) -> np.ndarray:
    scale = 1 / np.maximum(values, 1)
    return non_negative_least_squares(_matrix(samples, terms) * scale[:, None], values * scale)


def _rounded(coefficients: np.ndarray) -> tuple[float, ...]:
    """Five digits: a table that changes no more than its measurements do."""
    return tuple(float(f"{value:.5g}") if value > 1e-6 else 0.0 for value in coefficients)


def non_negative_least_squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x >= 0 with the least |a x - b|: one coordinate after the other, until none moves.

    Franc, Hlavac, Navara: Sequential coordinate-wise algorithm for the non-negative least squares problem (2005).
    """
    norms = np.sqrt((a * a).sum(axis=0))
    norms[norms == 0] = 1
    a = a / norms
    squares, gradient = a.T @ a, -(a.T @ b)
    x = np.zeros(a.shape[1])
    for _ in range(_ROUNDS):
        largest = 0.0
        for k in range(len(x)):
            if squares[k, k] == 0:
                continue
            moved = max(0.0, x[k] - gradient[k] / squares[k, k]) - x[k]
            if moved:
                gradient += moved * squares[:, k]
                x[k] += moved
                largest = max(largest, abs(moved))
        if largest <= _TOLERANCE:
            break
    return x / norms
