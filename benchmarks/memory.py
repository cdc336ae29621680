"""RAM, flash and cycles where RAM comes first: `python benchmarks/memory.py [MODELS] [--only MODEL …]`.

Compiles each MLPerf Tiny model for the board NUCLEO-L4R5ZI with `--optimize ram` and with `--optimize latency`, runs
both and compares the outputs of the first with the NumPy interpreter's. Prints a table and writes
`benchmarks/results/memory.json`; with --only it writes no file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import midge
from midge.report.json import run_json

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("MIDGE_SHARED", ROOT.parent / "shared"))
RESULTS = ROOT / "benchmarks" / "results" / "memory.json"
MODELS = ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8")
BOARD = "nucleo-l4r5zi"
KB = 1024


def main(arguments: list[str]) -> int:
    """Measure, print, write. Returns the exit status."""
    only = arguments[arguments.index("--only") + 1 :] if "--only" in arguments else []
    places = [Path(name) for name in arguments[: arguments.index("--only") if only else None]]
    folder = places[0] if places else SHARED / "models" / "mlperf-tiny"
    models = [model for model in MODELS if not only or model in only]
    missing = [str(folder / f"{model}.tflite") for model in models if not (folder / f"{model}.tflite").is_file()]
    if missing:
        print(f"no such file: {', '.join(missing)}", file=sys.stderr)
        return 2
    results = []
    for model in models:
        print(f"{model} …", file=sys.stderr, flush=True)
        results.append(measure(folder / f"{model}.tflite"))
    print(table(results))
    if not only:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8", newline="\n")
    return int(any(result["mismatches"] for result in results))


def measure(path: Path) -> dict[str, Any]:
    """The figures of one model, least RAM beside least latency."""
    program = midge.compile(path, board=BOARD, optimize="ram")
    ram = run_json(program.run())
    latency = run_json(midge.compile(path, board=BOARD, optimize="latency").run())
    return {
        "model": path.stem,
        "board": BOARD,
        "ram_bytes": ram["ram_bytes"],
        "flash_bytes": ram["flash_bytes"],
        "cycles": ram["cycles"],
        "cycles_latency": latency["cycles"],
        "mismatches": program.verify(samples=1).mismatches,
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, one line for each model."""
    lines = [
        "| model | RAM | flash | weights | code | M cycles | with least latency | values that differ from NumPy's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        flash = result["flash_bytes"]
        cells = [
            f"{result['ram_bytes']['total'] / KB:.2f} KB",
            f"{flash['total'] / KB:.2f} KB",
            f"{flash['weights']}",
            f"{flash['code']}",
            f"{result['cycles'] / 1e6:.3f}",
            f"{result['cycles_latency'] / 1e6:.3f} ({result['cycles'] / result['cycles_latency'] - 1:+.0%})",
            str(result["mismatches"]),
        ]
        lines.append(f"| {result['model']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
