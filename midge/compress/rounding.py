"""Rounding of weights by what it does to a layer's results, and the mean error that is left (docs/quantization.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DAMPING = 0.01
"""Of the mean second moment, added to each input's own: inputs that calibration hardly shows stay near rounding."""
_MOST_ROWS = 4096
_MOST_COLUMNS = 2304


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What calibration says of a layer's inputs as its weights see them, [groups, inputs] and [groups, inputs, inputs].

    A group is all output channels (convolution, fully connected) or one (depthwise).
    """

    mean: np.ndarray
    second: np.ndarray | None
    """None where there would be too many inputs for it."""


def moments(rows: np.ndarray) -> Moments:
    """Of samples [groups, rows, inputs], thinned out to some thousand rows."""
    step = max(rows.shape[1] // _MOST_ROWS, 1)
    thin = rows[:, ::step].astype(np.float64)
    mean = thin.mean(axis=1)
    if thin.shape[2] > _MOST_COLUMNS:
        return Moments(mean, None)
    return Moments(mean, np.einsum("gri,grj->gij", thin, thin) / thin.shape[1])


def round_weights(weights: np.ndarray, scales: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int8 of weights [outputs, inputs] with a scale for each output, so that the results' squared error is small.

    Inputs one after the other are rounded to the nearest, and the error is made up for by those that are still to come,
    as the second moments [inputs, inputs] of the inputs say (Frantar et al., GPTQ, ICLR 2023, with scales given). What
    AdaRound (Nagel et al., ICML 2020) finds by gradients, without a training framework.
    """
    size = second.shape[0]
    damped = second + np.eye(size) * max(_DAMPING * float(np.trace(second)) / size, 1e-12)
    inverse = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = weights.astype(np.float64) / scales.reshape(-1, 1)
    rounded = np.zeros_like(left)
    for column in range(size):
        rounded[:, column] = np.clip(np.rint(left[:, column]), -127, 127)
        error = (left[:, column] - rounded[:, column]) / inverse[column, column]
        left[:, column:] -= error[:, None] * inverse[column, column:]
    return rounded.astype(np.int8)
