"""The records round a compilation: what was asked, and everything that came of it."""

from __future__ import annotations

from dataclasses import dataclass

from midge.build.image import Image
from midge.emit.sources import Sources
from midge.model import Model
from midge.plan import Plan, PlanOptions
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class Options:
    """What a user can ask of a compilation. Budgets in bytes; None means the board's own memory."""

    optimize: str = "latency"
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    cc: str = "zig"

    @property
    def plan(self) -> PlanOptions:
        return PlanOptions(self.optimize, self.ram_bytes, self.flash_bytes)


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A model with every record of the line, up to the linked firmware."""

    model: Model
    board: Board
    options: Options
    plan: Plan
    sources: Sources
    image: Image
