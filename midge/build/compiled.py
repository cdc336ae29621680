"""The records round a compilation: what was asked, and everything that came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from midge.build.image import Image
from midge.emit.names import c_identifier
from midge.emit.sources import Sources
from midge.load.model import Model
from midge.plan import Plan, PlanOptions
from midge.targets.records import Board


@dataclass(frozen=True, slots=True)
class Options:
    """What a user can ask of a compilation. Budgets in bytes; None means the board's own memory."""

    optimize: str = "latency"
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    cc: Literal["zig", "gcc"] = "zig"
    input_by: Literal["rows", "frame"] | None = None

    @property
    def plan(self) -> PlanOptions:
        return PlanOptions(self.optimize, self.ram_bytes, self.flash_bytes, self.input_by)


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A model with every record of the line, up to the linked firmware."""

    model: Model
    board: Board
    options: Options
    plan: Plan
    sources: Sources
    image: Image

    @property
    def command(self) -> str:
        """The command that makes the sources again."""
        return command_line(self.model, self.board, self.options)


# Headers that the sources and the test harness include: no network's header may hide one of them.
_HEADERS = frozenset({"stdint", "stddef", "string", "math", "limits", "float", "stdio", "stdlib", "harness", "recorded",
                      "selftest", "say", "arm_acle", "arm_mve"})  # fmt: skip


def c_prefix(model_name: str) -> str:
    """The C name of a model: its file's stem as an identifier that is free for a header and its functions."""
    stem = c_identifier(Path(model_name).stem)
    return f"{stem}_net" if stem in _HEADERS else stem


def command_line(model: Model, board: Board, options: Options) -> str:
    """The command that makes these sources again, without paths, so that sources do not depend on where they are."""
    target = f"--core {board.core.name}" if is_core_board(board) else f"--board {board.name}"
    words = ["midge compile", model.name, target]
    if options.optimize != "latency":
        words.append(f"--optimize {options.optimize}")
    if options.ram_bytes is not None:
        words.append(f"--ram {options.ram_bytes}")
    if options.flash_bytes is not None:
        words.append(f"--flash {options.flash_bytes}")
    if options.input_by is not None:
        words.append(f"--input-by {options.input_by}")
    if model.numerics != "litert":
        words.append(f"--numerics {model.numerics}")
    return " ".join(words)


def is_core_board(board: Board) -> bool:
    """True for the board that stands for a bare core (`--core`)."""
    return board.name == board.core.name
