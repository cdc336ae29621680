"""The record that emulation makes: what one inference did on the emulated board."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LayerCount:
    """Executed instructions and estimated cycles of one layer (all its steps, and the library code they call)."""

    name: str
    op: str
    macs: int
    instructions: int
    cycles: int | None
    """None on a core without a timing table."""


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """One inference on a core without a timing table: all that can be said without cycles."""

    outputs: tuple[np.ndarray, ...]
    instructions: int
    stack_bytes: int
    backend: str


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One inference. Layer counts add up to the totals; code of the harness is not counted.

    The last layer, op "schedule", is the run function itself: the order of the rows and the padding.
    """

    outputs: tuple[np.ndarray, ...]
    instructions: int
    cycles: int | None
    """None on a core without a timing table."""
    stack_bytes: int
    layers: tuple[LayerCount, ...]
    backend: str
    """`unicorn` or `qemu`."""
