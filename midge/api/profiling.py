"""What a firmware's functions cost on a board: any firmware, Midge's or the user's own."""

from __future__ import annotations

from pathlib import Path

from midge.api import find_target
from midge.emulate.profile import profile as run_profile
from midge.errors import UsageError
from midge.report.metrics import cycles_note
from midge.report.records import Profiling


def profile(
    firmware: str | Path, *, board: str | None = None, core: str | None = None, args: str = "",
    minus_args: str | None = None,
) -> Profiling:  # fmt: skip
    """Instructions and cycles of each function of an ELF, from reset to its exit by semihosting.

    `args` is the command line that it reads. With `minus_args` it runs once more and those counts are subtracted.
    """
    target, path = find_target(board, core), Path(firmware)
    if not path.exists():
        raise UsageError(str(path), "no such file", "a firmware (ELF)")
    if path.is_dir():
        raise UsageError(str(path), "is a folder", "a firmware (ELF)")
    found = run_profile(path, target, args, minus_args)
    return Profiling(
        firmware=path.name,
        board=target,
        args=args,
        minus_args=minus_args,
        functions=found.functions,
        instructions=found.instructions,
        cycles=found.cycles,
        cycles_note=cycles_note(target),
        printed=found.printed,
        exit_status=found.exit_status,
        backend="unicorn",
    )
