"""Many inferences on this computer: samples in, outputs out, spread over its processors."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np

from midge.build.host import HostLibrary
from midge.errors import ToolError

PART_SAMPLES = 256
"""Samples of one call: progress moves, and an interrupt comes through, after each."""
MOST_COPIES = 16

_Run = Callable[[int, ctypes.Array, ctypes.Array], None]


def useful_copies(samples: int) -> int:
    """How many copies of a library can work at once on so many samples."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    processors = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min(processors, MOST_COPIES, -(-samples // PART_SAMPLES)))


def run_host_library(
    library: HostLibrary, inputs: Sequence[np.ndarray], progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, ...]:
    """The outputs for stacked inputs: `inputs[i]` holds input i of all samples, [samples, …], and so do the outputs."""
    samples = len(inputs[0])
    outputs = tuple(np.zeros((samples, *port.type.shape), port.type.dtype.numpy) for port in library.sources.outputs)
    parts = [slice(start, min(start + PART_SAMPLES, samples)) for start in range(0, samples, PART_SAMPLES)]
    # As many threads as copies, so that there is always a free one.
    free = list(library.paths)

    def run(part: slice) -> int:
        path = free.pop()
        try:
            function, lock = _load(path)
            with lock:
                function(part.stop - part.start, _pointers(inputs, part), _pointers(outputs, part))
        finally:
            free.append(path)
        return part.stop - part.start

    with ThreadPoolExecutor(len(library.paths)) as threads:
        done = 0
        for count in threads.map(run, parts):
            done += count
            if progress is not None:
                progress(done)
    return outputs


def _pointers(arrays: Sequence[np.ndarray], part: slice) -> ctypes.Array:
    return (ctypes.c_void_p * len(arrays))(*(array[part].ctypes.data for array in arrays))


@functools.cache
def _load(path: Path) -> tuple[_Run, Lock]:
    """The function of a library, and what keeps others in this process from its memory meanwhile."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        cure = "Delete it, and it is compiled anew"
        raise ToolError(str(path), f"cannot be loaded ({error})", "a library of this computer", cure) from error
    function = library.midge_host_run
    function.argtypes = [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = None
    return function, Lock()
