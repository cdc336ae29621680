"""Many inferences on this computer: samples in, outputs out, spread over its processor cores."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from midge.build.host import HostLibrary
from midge.errors import ToolError

PART_SAMPLES = 256
"""Samples of one call: progress moves, and an interrupt comes through, after each."""


def run_host_library(
    library: HostLibrary, inputs: Sequence[np.ndarray], progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, ...]:
    """The outputs for stacked inputs: `inputs[i]` holds input i of all samples, [samples, …], and so do the outputs."""
    samples = len(inputs[0])
    outputs = tuple(np.zeros((samples, *port.type.shape), port.type.dtype.numpy) for port in library.sources.outputs)
    parts = [slice(start, min(start + PART_SAMPLES, samples)) for start in range(0, samples, PART_SAMPLES)]
    functions = [_load(path) for path in library.paths[: max(1, len(parts))]]
    free = list(functions)

    def run(part: slice) -> int:
        # As many threads as functions, so that there is always one left.
        function = free.pop()
        try:
            function(part.stop - part.start, _pointers(inputs, part), _pointers(outputs, part))
        finally:
            free.append(function)
        return part.stop - part.start

    with ThreadPoolExecutor(len(functions)) as threads:
        done = 0
        for count in threads.map(run, parts):
            done += count
            if progress is not None:
                progress(done)
    return outputs


def _pointers(arrays: Sequence[np.ndarray], part: slice) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array[part].ctypes.data for array in arrays))


def _load(path: Path) -> Callable[..., None]:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        cure = "Delete it, and it is compiled anew"
        raise ToolError(str(path), f"cannot be loaded ({error})", "a library of this computer", cure) from error
    function = library.midge_host_run
    function.argtypes = [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = None
    return function
