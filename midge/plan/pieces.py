"""The tensors that a value is made of: itself, the parts of a concatenation, or some rows of what it is a slice of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from midge.ir.graph import Graph
from midge.plan.views import Place, Views

Span = tuple[int, int]
"""First and last row."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor with the rows of it that belong to a value.

    Its row 0 is row `start` of the value (before the value's first row: a negative number). Where `start` is None the
    value has rows of another length, and needs all of the tensor at once.
    """

    tensor: str
    rows: int
    start: int | None
    first: int
    last: int

    def needs(self, needs: Iterable[Span], value_rows: int) -> tuple[Span, ...]:
        """Rows of the tensor for those that steps need of the value: padding too, where it borders on the tensor."""
        if self.start is None:
            return tuple((0, self.rows - 1) for _ in needs)
        start = self.start
        top = start == 0 and self.first == 0
        bottom = start + self.last == value_rows - 1 and self.last == self.rows - 1
        found = []
        for low, high in needs:
            own_low = low - start if top and low < 0 else max(low - start, self.first)
            own_high = high - start if bottom and high >= value_rows else min(high - start, self.last)
            if own_low > own_high:
                own_low = min(max(low - start, self.first), self.last + 1)
                own_high = own_low - 1
            found.append((own_low, own_high))
        return tuple(found)


def pieces_of(graph: Graph, roots: Iterable[str], views: Views) -> dict[str, tuple[Piece, ...]]:
    """For each value, in execution order; no values but roots, and no constants."""
    found: dict[str, tuple[Piece, ...]] = {}
    for name in roots:
        rows = graph.type(name).rows
        if name not in views.made_of:
            found[name] = (Piece(name, rows, 0, 0, rows - 1),)
    for name in (output for node in graph.nodes for output in node.outputs if output in views.made_of):
        rows = graph.type(name).rows if name in views.slices else None
        found[name] = tuple(piece for of, place in views.made_of[name] for piece in _moved(found[of], place, rows))
    return found


def _moved(pieces: Iterable[Piece], place: Place, rows: int | None) -> Iterable[Piece]:
    """Pieces of a part as those of the whole; `rows`: of a whole as those of a slice with so many rows."""
    for piece in pieces:
        if piece.start is None or place.element is not None:
            yield replace(piece, start=None)
        elif rows is None:
            yield replace(piece, start=piece.start + place.row)
        else:
            start = piece.start - place.row
            first, last = max(piece.first, -start), min(piece.last, rows - 1 - start)
            if first <= last:
                yield replace(piece, start=start, first=first, last=last)
