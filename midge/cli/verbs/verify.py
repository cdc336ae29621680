"""`midge verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from midge import api
from midge.cli.options import compile_options, compiled, model_argument, progress, report, report_options
from midge.report.json import verify_json
from midge.report.text import verify_text

EXIT_DIFFERENT = 1


@click.command("verify", short_help="Compare the firmware with a reference.")
@model_argument
@compile_options
@click.option("--samples", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
              help="Random samples, always the same ones.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE",
              help="Samples from a file: .npz (array x, or the first) or .npy, stacked along axis 0.")  # fmt: skip
@click.option("--against", default="numpy", show_default=True, metavar="numpy|litert",
              help="Midge's NumPy interpreter, or LiteRT's reference kernels (pip install midge[litert]). "
                   "onnxruntime and torch come with later importers.")  # fmt: skip
@click.option("--on", type=click.Choice(["board", "host"]), default="board", show_default=True,
              help="Run the firmware on the emulated board, or the network compiled for this computer: many samples a "
                   "second, but not the board's kernels. A board is not needed then, and not used.")  # fmt: skip
@report_options
def command(model: Path, samples: int, data: Path | None, against: str, on: str, as_json: bool, **compiling: Any
            ) -> int:  # fmt: skip
    """Compare the firmware of MODEL with a reference, value by value.

    The rule: integers must be equal. A float32 value a agrees with its reference b where |a - b| is at most 1e-5 of
    the largest |b| of the output tensor. Random integers are uniform over the whole range of the input's type,
    random floats uniform from -1 to 1. Exit code 1 where a value differs.
    """
    if on == "host":
        opened = api.open_model(model, numerics=compiling["numerics"])
        with progress("verifying", None if data else samples, as_json) as advance:
            verification = api.verify_host(opened, samples, data=data, against=against, progress=advance)
    else:
        program = compiled(model, as_json, compiling)
        with progress("verifying", None if data else samples, as_json) as advance:
            verification = program.verify(samples, data=data, against=against, progress=advance)
    report(as_json, verify_json(verification), lambda: verify_text(verification))
    return 0 if verification.passed else EXIT_DIFFERENT
