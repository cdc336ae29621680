"""What an import knows of the subgraphs that it has put in the place of branches and loops."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Inlined:
    """How far subgraphs have been put in the place of operators."""

    layers: int
    """Operators of the model, and of subgraphs so far."""
    operands: int = 0
    depth: int = 0
    constants: dict[tuple[int, int], int] = field(default_factory=dict)
    """Where a constant lies that a subgraph (by its number) has, by its index there."""
