"""The whole line on the bundled digit classifier: compile, run, verify, and say what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from midge import api, demo
from midge.errors import UsageError
from midge.reference.compare import Comparison
from midge.reference.kinds.numpy import open_reference
from midge.reference.samples import Inputs
from midge.report.records import Battery, Demonstration
from midge.targets.records import Power

DEFAULT_BOARD = "arduino-nano-33-ble-sense"

Step = Callable[[str, int | None], Callable[[int], None]]
"""Called when a part of the work starts, with its title and number of samples; returns what to call as they pass."""


def demonstrate(board: str = DEFAULT_BOARD, samples: int | None = None, step: Step | None = None) -> Demonstration:
    """Compile the bundled model for a board and run real test digits (all of them, or the first `samples`)."""
    api.find_target(board, None)  # a wrong name is told before the work begins
    images, labels = demo.digits_samples()
    if samples is not None and not 1 <= samples <= len(images):
        raise UsageError("--samples", f"{samples}", f"1 to {len(images)}")
    images, labels = images[:samples], labels[:samples]
    step = step or (lambda title, total: lambda done: None)
    step("compiling", None)
    program = api.compile(demo.digits_model(), board=board)
    step("measuring one inference", None)
    result = program.run(images[:1])
    inputs = [(image[np.newaxis],) for image in images]
    outputs = program.infer(inputs, progress=step(f"running digits on the emulated {program.board.title}", len(images)))
    comparison = _compare(program, inputs, outputs, step("comparing with the NumPy interpreter", len(images)))
    step("looking for other boards", None)
    return Demonstration(
        result=result,
        comparison=comparison,
        images=images,
        labels=labels,
        probabilities=np.concatenate([_real(program, output[0]) for output in outputs]),
        battery=coin_cell(result.latency_ms, result.board.power),
        fits=api.inspect(program.model).fits,
    )


def _compare(
    program: api.Program, inputs: Sequence[Inputs], outputs: Sequence[Inputs], done: Callable[[int], None]
) -> Comparison:
    reference = open_reference(program.model)
    total = Comparison()
    for number, (sample, output) in enumerate(zip(inputs, outputs, strict=True)):
        total = total.add(number, output, reference.run(sample))
        done(number + 1)
    return total


def _real(program: api.Program, output: np.ndarray) -> np.ndarray:
    quantization = program.outputs[0].type.quantization
    assert quantization is not None
    return (output.astype(np.float64) - quantization.zero_point) * quantization.scale


def coin_cell(latency_ms: float | None, power: Power | None) -> Battery | None:
    """A CR2032 of 225 mAh at one inference a second."""
    if power is None or latency_ms is None or latency_ms > 1000:
        return None
    active = latency_ms / 1000
    mean = active * power.run_milliamps + (1 - active) * power.sleep_microamps / 1000
    return Battery("CR2032", 225.0, 1.0, mean)
