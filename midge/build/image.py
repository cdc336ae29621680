"""The record that building makes: a linked firmware and its sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from midge.build.stack import StackBound


@dataclass(frozen=True, slots=True)
class FlashBytes:
    """Flash of the network alone (no start-up code, no harness): constants, code (its library calls too), both."""

    weights: int
    code: int

    @property
    def total(self) -> int:
        return self.weights + self.code


@dataclass(frozen=True, slots=True)
class Image:
    """A linked test firmware. `static_bytes` is the network's RAM other than the arena (its .data and .bss)."""

    elf: Path
    flash: FlashBytes
    arena_bytes: int
    static_bytes: int
    compiler: str
    """Name and version of the compiler, for reports."""
    stack: StackBound = field(default_factory=lambda: StackBound(None, "not analysed"))
    """Of a call of the network, from the machine code."""
