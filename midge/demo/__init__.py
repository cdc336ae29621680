"""The bundled demo: a small digit classifier and real digits it never saw; examples/digits makes both."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

# Files unpacked from a zipped package live until the process ends.
_unpacked = ExitStack()
atexit.register(_unpacked.close)


def digits_model() -> Path:
    """The int8 digit classifier, a .tflite file: [1, 8, 8, 1] image to [1, 10] scores."""
    return _path("digits.tflite")


def digits_samples() -> tuple[np.ndarray, np.ndarray]:
    """Test images as the model's int8 input, [N, 8, 8, 1], and their labels, [N]."""
    with np.load(_path("digits_test.npz")) as samples:
        return samples["images"], samples["labels"]


def _path(name: str) -> Path:
    return _unpacked.enter_context(as_file(files("midge.demo").joinpath(name)))
