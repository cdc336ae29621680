"""`midge quantize`."""

from __future__ import annotations

from pathlib import Path

import click

from midge import api
from midge.cli.options import model_argument, progress, report, report_options, target_options
from midge.compress.ranges import METHODS
from midge.compress.training.records import STEPS
from midge.errors import UsageError
from midge.report.quantizing import Facts, diagnosis_json, diagnosis_text, quantize_json, quantize_text


@click.command("quantize", short_help="Make a model of integers of a float one.")
@model_argument
@click.option("--data", type=click.Path(path_type=Path), required=True, metavar="FILE|DIR",
              help="Calibration samples, float32 as the model's input: .npz or .npy stacked along axis 0, or a folder "
                   "with a .npy or .npz file for each.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Where to write it: a .tflite file, or .onnx in QDQ form.")  # fmt: skip
@click.option("--method", type=click.Choice(METHODS), default="min-max", show_default=True,
              help="How ranges follow from the data.")  # fmt: skip
@click.option("--equalize", is_flag=True, help="Bring channels between layers to like ranges first.")
@click.option("--bias-correction", is_flag=True, help="Take up the mean error of rounded weights in the biases.")
@click.option("--rounding", type=click.Choice(api.ROUNDINGS), default="nearest", show_default=True,
              help="Of weights: to the nearest, or adapted to the layer's inputs.")  # fmt: skip
@click.option("--per-tensor", is_flag=True, help="One scale for all weights of a layer, not one a channel.")
@click.option("--activations", type=click.Choice(api.ACTIVATIONS), default="int8", show_default=True,
              help="Integers between layers; weights are int8 with both.")  # fmt: skip
@click.option("--ports", type=click.Choice(api.PORTS),
              help="Type of the model's inputs and outputs.  [default: as the activations]")  # fmt: skip
@click.option("--float-layer", "float_layers", multiple=True, metavar="NAME", help="A layer that stays float32.")
@click.option("--int16-layer", "int16_layers", multiple=True, metavar="NAME", help="A layer with int16 on all sides.")
@click.option("--train", type=click.IntRange(min=0), metavar="STEPS",
              help="Steps of training with quantisation in the loop, on the samples (and their labels, where the .npz "
                   f"has them as y); needs torch.  [default: none; {STEPS} as the cure of --diagnose]")  # fmt: skip
@click.option("--diagnose", "diagnosing", is_flag=True,
              help="Find the layers that int8 hurts, try cures in order, keep those that help.")  # fmt: skip
@target_options
@report_options
def command(
    model: Path, data: Path, out: Path | None, method: str, equalize: bool, bias_correction: bool, rounding: str,
    per_tensor: bool, activations: str, ports: str | None, float_layers: tuple[str, ...], int16_layers: tuple[str, ...],
    train: int | None, diagnosing: bool, board: str | None, core: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Quantise the float MODEL after training, on calibration data, and show how much noise each layer gets.

    With --diagnose, a --board or --core adds what each cure costs there in cycles. Ctrl-C ends training early, with the
    best so far.
    """
    if (board or core) and not diagnosing:
        raise UsageError("--board and --core", "without --diagnose", "either both or none of them")
    if diagnosing and (activations != "int8" or int16_layers):
        raise UsageError("--activations and --int16-layer", "with --diagnose", "int8, to which int16 is a cure")
    if diagnosing:
        with progress("diagnosing", None, as_json) as advance:
            found = api.diagnose(
                model, data, board=board, core=core, ports=ports or "int8",  # type: ignore[arg-type]
                train=STEPS if train is None else train, progress=advance,
            )  # fmt: skip
        if out is not None:
            found.best.save(out)
        report(as_json, diagnosis_json(found, out), lambda: diagnosis_text(found, out))
        return
    with progress("calibrating", None, as_json) as advance:
        made = api.quantize(
            model, data, method=method, per_channel=not per_tensor,  # type: ignore[arg-type]
            activations=activations, ports=ports,  # type: ignore[arg-type]
            float_layers=float_layers, int16_layers=int16_layers, equalize=equalize, bias_correction=bias_correction,
            rounding=rounding, train=train or 0, out=out, progress=advance,  # type: ignore[arg-type]
        )  # fmt: skip
    facts = Facts.of(made, out)
    report(as_json, quantize_json(facts), lambda: quantize_text(facts))
