"""References: what the firmware's values are compared with.

A reference is one file in `kinds/` with a function `open_reference(model)`; `names` lists them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from midge.errors import UsageError
from midge.load.model import Model


class Reference(Protocol):
    """One implementation of the network, that is not the firmware."""

    @property
    def version(self) -> str:
        """Name and version, for reports."""
        ...

    @property
    def steps(self) -> tuple[float, ...]:
        """For each output, how far values may be apart and count as equal. 0, or none at all: `compare.RULE`."""
        ...

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The outputs of one inference."""
        ...

    def values(self, inputs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        """Every tensor of one inference that the reference can show, by name."""
        ...


def names() -> tuple[str, ...]:
    """The references that exist, in alphabetical order."""
    folder = Path(__file__).parent / "kinds"
    return tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))


def open_reference(name: str, model: Model) -> Reference:
    """The reference of that name, ready to run the model. Raises ToolError where its package is missing."""
    if name not in names():
        raise UsageError(f"--against {name}", "unknown reference", f"one of: {', '.join(names())}")
    return importlib.import_module(f"midge.reference.kinds.{name}").open_reference(model)
