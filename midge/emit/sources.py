"""The record that emission makes: C and assembly text, and what the later stages must know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from midge.ir.types import TensorType


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of the emitted network.

    `accessor` is the C function that returns its buffer; empty for an input that is pushed by rows.
    """

    name: str
    type: TensorType
    accessor: str

    @property
    def bytes(self) -> int:
        return self.type.bytes


@dataclass(frozen=True, slots=True)
class Layer:
    """One emitted layer: the C function `symbol` runs one step of it (never inlined, so counts can be split)."""

    name: str
    op: str
    symbol: str
    macs: int


@dataclass(frozen=True, slots=True)
class Sources:
    """The emitted network. `files` maps file names (`<prefix>.c`, `<prefix>.h`, `.S` if used) to their text."""

    prefix: str
    files: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layers: tuple[Layer, ...]
    run_symbol: str
    init_symbol: str | None
    """What puts the network's states back to where they begin; None where it has none."""
    arena_bytes: int
    weight_bytes: int
    """Bytes of emitted constants (weights, biases, requantisation tables)."""
    input_rows: int = 0
    """Where the one input is pushed by rows: how many. `run_symbol` then takes a row, and that many calls are an
    inference. 0: inputs are written as a whole, and one call of `run_symbol` is an inference."""

    @property
    def header(self) -> str:
        return f"{self.prefix}.h"

    @property
    def input_row_bytes(self) -> int:
        """Bytes of a row that is pushed."""
        return self.inputs[0].bytes // self.input_rows

    @property
    def calls(self) -> int:
        """Calls of `run_symbol` that one inference takes."""
        return max(1, self.input_rows)

    @property
    def units(self) -> tuple[str, ...]:
        """The files that a compiler is called on, in a fixed order."""
        return tuple(sorted(name for name in self.files if name.endswith((".c", ".S"))))
