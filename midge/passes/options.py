"""Options that every pass gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from midge.passes.fold_report import FoldReport


@dataclass(frozen=True, slots=True)
class PassOptions:
    """Options of all passes.

    `explain` gets a line for each place that was looked at and left alone; `report` gets what a pass removed, for
    each pass that removed something.
    """

    explain: Callable[[str], None] | None = None
    report: Callable[[FoldReport], None] | None = None

    def refuse(self, line: str) -> None:
        """Tell why a place is left alone, where someone listens."""
        if self.explain is not None:
            self.explain(line)
