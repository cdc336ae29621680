"""`midge quantize`."""

from __future__ import annotations

from pathlib import Path

import click

from midge import api
from midge.cli.options import model_argument, progress, report, report_options
from midge.compress.ranges import METHODS
from midge.report.quantizing import quantize_json, quantize_text


@click.command("quantize", short_help="Make an int8 model of a float one.")
@model_argument
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE|DIR",
              help="Calibration samples, float32 as the model's input: .npz or .npy stacked along axis 0, or a folder "
                   "with a .npy or .npz file for each.")  # fmt: skip
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it: a .tflite file, or .onnx in QDQ form.",
)
@click.option("--method", type=click.Choice(METHODS), default="min-max", show_default=True,
              help="How ranges follow from the data.")  # fmt: skip
@click.option("--per-tensor", is_flag=True, help="One scale for all weights of a layer, not one a channel.")
@click.option("--ports", type=click.Choice(api.PORTS), default="int8", show_default=True,
              help="Type of the model's inputs and outputs.")  # fmt: skip
@click.option("--float-layer", "float_layers", multiple=True, metavar="NAME", help="A layer that stays float32.")
@report_options
def command(
    model: Path, data: Path, out: Path | None, method: str, per_tensor: bool, ports: str, float_layers: tuple[str, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Quantise the float MODEL after training, on calibration data, and show how much noise each layer gets."""
    with progress("calibrating", None, as_json) as advance:
        made = api.quantize(
            model, data, method=method, per_channel=not per_tensor, ports=ports,  # type: ignore[arg-type]
            float_layers=float_layers, out=out, progress=advance,
        )  # fmt: skip
    facts = (made.source.name, None if out is None else str(out), made.method, made.samples, made.layers,
             (made.float_bytes, made.integer_bytes))  # fmt: skip
    report(as_json, quantize_json(*facts), lambda: quantize_text(*facts))
