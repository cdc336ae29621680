"""Quantised models and diagnoses, for people and as JSON (docs/json.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from midge.report.console import grid, size, table


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told of a quantised model."""

    model: str
    out: str | None
    method: str
    activations: str
    samples: int
    layers: Sequence[Any]
    float_bytes: int
    integer_bytes: int
    trained: Any
    """A `compress.training.Trained`, or None."""

    @staticmethod
    def of(made: Any, out: Path | None) -> Facts:
        """Of an `api.quantizing.Quantized`."""
        return Facts(made.source.name, None if out is None else str(out), made.method, made.activations,
                     made.samples, made.layers, made.float_bytes, made.integer_bytes, made.trained)  # fmt: skip


def _db(value: float) -> float | None:
    return None if math.isinf(value) else round(value, 2)


def _layer_json(layer: Any) -> dict[str, Any]:
    return {
        "name": layer.layer, "op": layer.op, "integer": layer.is_integer, "dtype": layer.dtype, "low": layer.low,
        "high": layer.high, "snr_db": _db(layer.noise_db), "clipped": layer.clipped,
    }  # fmt: skip


def quantize_json(facts: Facts) -> dict[str, Any]:
    return {
        "model": facts.model, "out": facts.out, "method": facts.method, "activations": facts.activations,
        "samples": facts.samples,
        "constant_bytes": {"float": facts.float_bytes, "integer": facts.integer_bytes},
        "trained": _trained_json(facts.trained),
        "layers": [_layer_json(layer) for layer in facts.layers],
    }  # fmt: skip


def _trained_json(trained: Any) -> dict[str, Any] | None:
    return None if trained is None else {"steps": trained.steps, "interrupted": trained.interrupted}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _noise(value: float) -> str:
    return "exact" if math.isinf(value) else f"{value:.1f} dB"


def _layers_table(layers: Sequence[Any], plain: str, hurting: Sequence[str] = ()) -> RenderableType:
    """`plain`: the element type that is not worth telling."""
    rows = table("layer", "op", "range", "SNR", "clipped", "", numeric=("range", "SNR", "clipped"))
    for layer in layers:
        clipped = f"{layer.clipped:.2%}" if layer.clipped else "–"
        kind = layer.op if layer.dtype == plain else f"{layer.op} ({layer.dtype})"
        mark = "hurts" if layer.layer in hurting else ""
        rows.add_row(layer.layer, kind, f"{layer.low:.3g} … {layer.high:.3g}", _noise(layer.noise_db), clipped, mark)
    return rows


def quantize_text(facts: Facts) -> Sequence[RenderableType]:
    """Each layer's signal-to-noise ratio, and what became of the constants."""
    rows = [("ranges", f"{facts.method}, of {facts.samples} calibration samples"),
            ("constants", f"{size(facts.float_bytes)} before, {size(facts.integer_bytes)} in integers")]  # fmt: skip
    if facts.trained is not None:
        ended = ", then interrupted" if facts.trained.interrupted else ""
        rows.append(("trained", f"{facts.trained.steps} steps{ended}"))
    if facts.out is not None:
        rows.append(("written", facts.out))
    note = "SNR: of the integers against the float values, on the calibration data."
    title = Text.assemble((facts.model, "bold"), f" quantised to {facts.activations}")
    return title, _layers_table(facts.layers, facts.activations), grid(rows), Text(note, style="dim")


def diagnosis_json(found: Any, out: Path | None) -> dict[str, Any]:
    """Of an `api.diagnosis.Diagnosis`."""
    return {
        "model": found.plain.source.name, "out": None if out is None else str(out), "samples": found.plain.samples,
        "output_snr_db": _db(found.plain_db),
        "accuracy": {"float": found.float_accuracy, "integer": found.plain_accuracy},
        "layers": [_layer_json(layer) for layer in found.plain.layers],
        "hurting": [layer.layer for layer in found.hurting],
        "cures": [
            {
                "cure": step.cure, "samples": step.samples, "output_snr_db": _db(step.output_db),
                "gain_db": _db(step.gain_db), "accuracy": step.accuracy, "extra_bytes": step.extra_bytes,
                "extra_cycles": step.extra_cycles, "kept": step.kept,
            }
            for step in found.steps
        ],
        "trained": _trained_json(found.best.trained), "untrained": found.untrained or None,
        "needs_training": found.needs_training,
    }  # fmt: skip


def diagnosis_text(found: Any, out: Path | None) -> Sequence[RenderableType]:
    """The layers that hurt, the cures in the order they were tried, and what to do now."""
    names = [layer.layer for layer in found.hurting]
    facts = f" in int8, on {found.plain.samples} samples: the outputs' SNR is {_noise(found.plain_db)}"
    if found.plain_accuracy is not None:
        facts += f", {_percent(found.plain_accuracy)} get their label ({_percent(found.float_accuracy)} in float)"
    parts: list[RenderableType] = [
        Text.assemble((found.plain.source.name, "bold"), facts),
        _layers_table(found.plain.layers, found.plain.activations, names),
    ]
    if found.steps:
        parts.append(_cures_table(found))
    parts.append(Text(_advice(found, names)))
    if out is not None:
        parts.append(grid([("written", str(out))]))
    return parts


def _cures_table(found: Any) -> RenderableType:
    numbers = ["outputs' SNR", "gain", "bytes", "cycles"]
    if found.plain_accuracy is not None:
        numbers.insert(2, "right")
    cures = table("cure", *numbers, "", numeric=tuple(numbers))
    for step in found.steps:
        cycles = "–" if step.extra_cycles is None else f"{step.extra_cycles:+,}"
        right = [] if found.plain_accuracy is None else [_percent(step.accuracy)]
        name = step.cure if step.samples == found.plain.samples else f"{step.cure} (on {step.samples} samples)"
        cures.add_row(name, _noise(step.output_db), f"{step.gain_db:+.1f} dB", *right, f"{step.extra_bytes:+,}", cycles,
                      "kept" if step.kept else "")  # fmt: skip
    return cures


def _advice(found: Any, names: Sequence[str]) -> str:
    if not found.steps:
        return "Healthy: the outputs' noise is a thousandth of their power, or less. Nothing to cure."
    kept = [step.cure for step in found.steps if step.kept]
    hurt = f"Hurt by int8: {', '.join(names)}. " if names else ""
    cured = f"Kept: {', '.join(kept)}." if kept else "No cure helped."
    if not found.needs_training:
        return f"{hurt}{cured} The outputs' noise is a thousandth of their power now, or less."
    trained = found.best.trained
    if trained is not None and trained.interrupted:
        return f"{hurt}{cured} Training was interrupted."
    if found.untrained:
        return f"{hurt}{cured} What is left needs training, if it costs accuracy: {found.untrained}."
    return f"{hurt}{cured} What is left needs longer training (--train STEPS) or more samples, if it costs accuracy."
