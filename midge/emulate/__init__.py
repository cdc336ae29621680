"""Image -> Trace: the firmware runs on an emulated board; instructions, cycles and stack are counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from midge.build.image import Image
from midge.emit.sources import Sources
from midge.emulate import unicorn
from midge.emulate.pattern import fixed_pattern
from midge.emulate.trace import Execution, LayerCount, Trace
from midge.targets.records import Board

__all__ = ["Execution", "LayerCount", "Trace", "emulate", "emulate_many", "execute", "fixed_pattern"]


def emulate(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None, *,
            backend: Literal["unicorn", "qemu"] = "unicorn", check_alignment: bool = True) -> Trace:  # fmt: skip
    """One inference from reset, on the given inputs or on the fixed pattern, counted.

    Without `check_alignment` Unicorn runs once instead of twice on Armv7-M, but unaligned accesses cost nothing and
    those that the core would fault at pass: for tuning, after a run with it.
    UnsupportedError for a core that the back end does not have; Unicorn's want a timing table, QEMU's do without.
    """
    if backend == "qemu":
        from midge.emulate import qemu

        return qemu.trace(image, sources, board, inputs)
    return unicorn.trace(image, sources, board, inputs, check_alignment)


def execute(image: Image, sources: Sources, board: Board, inputs: Sequence[np.ndarray] | None = None, *,
            backend: Literal["unicorn", "qemu"] = "unicorn") -> Execution:  # fmt: skip
    """As `emulate`, for cores without a timing table: outputs, instructions and stack, no cycles and no layers."""
    if backend == "qemu":
        from midge.emulate import qemu

        return qemu.execute(image, sources, board, inputs)
    return unicorn.execute(image, sources, board, inputs)


def emulate_many(image: Image, sources: Sources, board: Board, samples: Sequence[Sequence[np.ndarray]], *,
                 progress: Callable[[int], None] | None = None,
                 backend: Literal["unicorn", "qemu"] = "unicorn") -> list[tuple[np.ndarray, ...]]:  # fmt: skip
    """The outputs of many inferences on one device that is reset once, before the first; not counted, so fast.

    Each sample sees what the device's earlier inferences left in memory, as on a real one.
    """
    if backend == "qemu":
        from midge.emulate import qemu

        return qemu.outputs(image, sources, board, samples, progress)
    return unicorn.outputs(image, sources, board, samples, progress)
