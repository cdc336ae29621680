"""A quantised model for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from midge.report.console import grid, size, table


def quantize_json(name: str, out: str | None, method: str, samples: int, layers: Sequence[Any], sizes: tuple[int, int]
                  ) -> dict[str, Any]:  # fmt: skip
    """docs/json.md, "quantize"."""
    return {
        "model": name, "out": out, "method": method, "samples": samples,
        "constant_bytes": {"float": sizes[0], "integer": sizes[1]},
        "layers": [
            {
                "name": layer.layer, "op": layer.op, "integer": layer.is_integer, "low": layer.low, "high": layer.high,
                "snr_db": None if math.isinf(layer.noise_db) else round(layer.noise_db, 2),
                "clipped": layer.clipped,
            }
            for layer in layers
        ],
    }  # fmt: skip


def quantize_text(name: str, out: str | None, method: str, samples: int, layers: Sequence[Any], sizes: tuple[int, int]
                  ) -> Sequence[RenderableType]:  # fmt: skip
    """Each layer's signal-to-noise ratio, and what became of the constants."""
    rows = table("layer", "op", "range", "SNR", "clipped", numeric=("range", "SNR", "clipped"))
    for layer in layers:
        noise = "exact" if math.isinf(layer.noise_db) else f"{layer.noise_db:.1f} dB"
        clipped = f"{layer.clipped:.2%}" if layer.clipped else "–"
        kind = layer.op if layer.is_integer else f"{layer.op} (float32)"
        rows.add_row(layer.layer, kind, f"{layer.low:.3g} … {layer.high:.3g}", noise, clipped)
    facts = [("ranges", f"{method}, of {samples} calibration samples"),
             ("constants", f"{size(sizes[0])} before, {size(sizes[1])} in int8")]  # fmt: skip
    if out is not None:
        facts.append(("written", out))
    note = "SNR: of the integers against the float values, on the calibration data."
    return Text.assemble((name, "bold"), " quantised to int8"), rows, grid(facts), Text(note, style="dim")
