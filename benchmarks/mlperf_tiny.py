"""The four MLPerf Tiny models on every core: `python benchmarks/mlperf_tiny.py [MODELS [PEERS]] [--only TARGET …]`.

Runs each model on every core that can be emulated, and on the board NUCLEO-L4R5ZI with its flash and caches. Prints
Midge's cycles (instructions on the Cortex-M55, which needs QEMU) beside those of other engines and beside a bound, and
writes `benchmarks/results/mlperf_tiny.json` and `docs/benchmarks.md`. The bound counts nothing but
multiply-accumulates: two a cycle on cores with the DSP extension, sixteen an instruction with Helium, one a cycle on
the others. Interrupted (Ctrl-C), or with --only, it writes no file.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import midge
from midge import targets
from midge.report.console import size
from midge.report.json import run_json
from midge.targets.records import Board

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("MIDGE_SHARED", ROOT.parent / "shared"))
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "mlperf_tiny.json", ROOT / "docs" / "benchmarks.md"
MODELS = {"kws_ref_model": "keyword", "pretrainedResnet_quant": "image", "vww_96_int8": "visual wake words",
          "ad01_int8": "anomaly"}  # fmt: skip
BOARD = "nucleo-l4r5zi"
BOARD_AS_PUBLISHED = "L4R5ZI"
COMPARED = "tflite-micro + cmsis-nn"
KEPT = ("macs", "macs_computed", "instructions", "cycles", "latency_ms", "ram_bytes", "flash_bytes")
HEAD = """# Benchmarks: MLPerf Tiny

Made by `python benchmarks/mlperf_tiny.py`; the figures are in `benchmarks/results/mlperf_tiny.json`. One inference
from reset, compiled with `--optimize latency` and nothing else. In each run all output values were compared with
those of the NumPy interpreter.

Cycles are **estimates**: exact counts of instructions, costed by the core's timing table ([timing.md](timing.md)). The
cores have memories without wait states; the board has its flash and caches. *bound* is the time of the model's
multiply-accumulates alone, two a cycle with the DSP extension and one without (sixteen an instruction with Helium).
Midge can come below it, because it removes what cannot matter ([folding.md](folding.md)) and needs fewer products
([winograd.md](winograd.md)). On the Cortex-M55 all figures are **instructions**, exact: its cycles rest on no
measurement of a whole network yet.

Peers without a board were measured on the same emulated core, as firmware, with a first-order table that differs from
Midge's by a few per cent; the best build of each counts. Peers with a board are results that were published for that
hardware, wait states included. `×` is how many times as long as Midge a peer takes. On the Cortex-M7 only the cycles of
tflite-micro + cmsis-nn were counted with dual issue; those of the other emulated peers there are too high.

*flash, of an interpreter* is what tflite-micro + cmsis-nn takes on the core in its smaller build, code and the model's
file, and the part of that which Midge takes; Midge's flash is code and constants. Neither counts start-up code.
How long compiling takes is on a [page of its own](compile-time.md).
"""


def main(arguments: list[str]) -> int:
    """Measure, print, write. Returns the exit status."""
    only = arguments[arguments.index("--only") + 1 :] if "--only" in arguments else []
    places = [Path(name) for name in arguments[: arguments.index("--only") if only else None]]
    folder = places[0] if places else SHARED / "models" / "mlperf-tiny"
    peers_file = places[1] if len(places) > 1 else SHARED / "peers.json"
    missing = [str(path) for path in (*(folder / f"{m}.tflite" for m in MODELS), peers_file) if not path.is_file()]
    if missing:
        print(f"no such file: {', '.join(missing)}", file=sys.stderr)
        return 2
    peers = json.loads(peers_file.read_text(encoding="utf-8"))
    boards = [board for board in _boards() if not only or board.name in only]
    try:
        results = measure(boards, folder)
    except KeyboardInterrupt:
        print("\ninterrupted; no file was changed", file=sys.stderr)
        return 130
    compared = [compare(result, peers) for result in results]
    text = "\n".join([HEAD, *(table(board, compared) for board in boards)])
    print(text)
    if not only:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(compared, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
        PAGE.write_text(text, encoding="utf-8", newline="\n")
    over = [f"{row['model']} on {row['target']}" for row in compared if row.get("times_interpreter_flash", 0) > 1]
    if over:
        print(f"more flash than {COMPARED}: {', '.join(over)}", file=sys.stderr)
    return int(bool(over) or any(result["mismatches"] for result in compared))


def _boards() -> list[Board]:
    """All cores that can be emulated here with kernels of their own, and the board."""
    has_qemu = shutil.which("qemu-system-arm") is not None
    cores = [
        core.name
        for core in targets.cores().values()
        if (core.timing and (core.unicorn_model or core.is_riscv)) or ("mve" in core.isas and has_qemu)
    ]
    return [*map(targets.core_board, cores), targets.find_board(BOARD)]


def measure(boards: Sequence[Board], folder: Path) -> list[dict[str, Any]]:
    """Run each model on each target, with a line of progress for each."""
    results, total = [], len(boards) * len(MODELS)
    for board in boards:
        for model in MODELS:
            print(f"[{len(results) + 1}/{total}] {model} on {board.name} …", end="", file=sys.stderr, flush=True)
            results.append(_measure(board, folder / f"{model}.tflite"))
            counted, figure = results[-1]["counted"], results[-1]["figure"]
            print(f" {counted:,} {figure}, {results[-1]['mismatches']} mismatches", file=sys.stderr)
    return results


def _measure(board: Board, path: Path) -> dict[str, Any]:
    is_bare = board.name == board.core.name
    program = midge.compile(path, core=board.name) if is_bare else midge.compile(path, board=board.name)
    found = run_json(program.run())
    mismatches = program.verify(samples=1).mismatches
    kept = {name: found[name] for name in KEPT}
    rate = 16 if "mve" in board.core.isas else 2 if "armv7em" in board.core.isas else 1
    figure = "instructions" if found["cycles"] is None or "mve" in board.core.isas else "cycles"
    return {"model": path.stem, "target": board.name, "core": board.core.name, **kept, "mismatches": mismatches,
            "figure": figure, "counted": found[figure], "bound": -(-found["macs"] // rate),
            "macs_per_count_bound": rate}  # fmt: skip


def compare(result: dict[str, Any], peers: Mapping[str, Any]) -> dict[str, Any]:
    """The result with the peers' figures for the same model and target, fastest first."""
    on_board = result["target"] == BOARD
    best: dict[tuple[str, str], int] = {}

    def note(row: Mapping[str, Any], peer: str, where: str) -> None:
        same = (row["core"], row["model"]) == (result["core"], result["model"])
        if same and (counted := row.get(result["figure"])):
            best[peer, where] = min(best.get((peer, where), counted), counted)

    for row in [] if on_board else peers["measured"]:
        note(row, row["peer"] + (", float32" if "float" in row.get("variant", "") else ""), "")
    for row in peers["published"]:
        if not on_board or BOARD_AS_PUBLISHED in row["board"]:
            note(row, row["software"], row["board"])
    if not on_board:
        # Of the hardware with this core the fastest result is enough.
        published = sorted((cycles, key) for key, cycles in best.items() if key[1])
        best = {key: cycles for key, cycles in best.items() if not key[1]}
        best.update({key: cycles for cycles, key in published[:1]})
    ranked = sorted(best.items(), key=lambda item: (item[1], item[0]))
    return {
        **result,
        "ratio_to_bound": round(result["counted"] / result["bound"], 3),
        **_interpreter_flash(result, peers["measured"]),
        "peers": [{"peer": peer, "board": board, "counted": count, "times_midge": round(count / result["counted"], 3)}
                  for (peer, board), count in ranked],
    }  # fmt: skip


def _interpreter_flash(result: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What an interpreter takes for the model on the core, code and file, in its smallest build; empty if unknown."""
    rows = [row for row in measured if (row["peer"], row["core"], row["model"]) == (
        COMPARED, result["core"], result["model"])]  # fmt: skip
    if not rows:
        return {}
    least = min(row["flash_bytes"] + row["model_bytes"] for row in rows)
    times = round(result["flash_bytes"]["total"] / least, 3)
    return {"interpreter_flash_bytes": least, "times_interpreter_flash": times}


def table(board: Board, compared: Sequence[dict[str, Any]]) -> str:
    """One target as a section of Markdown."""
    rows = [result for result in compared if result["target"] == board.name]
    title = f"## {board.title}" + (f", {board.clock_hz / 1e6:g} MHz" if board.name == BOARD else "")
    lines = [
        title,
        "",
        f"| engine | {' | '.join(MODELS[row['model']] for row in rows)} |",
        "|---|" + "---:|" * len(rows),
    ]
    figure = rows[0]["figure"]
    lines.append(_row(f"**Midge**, M {figure}", [f"**{row['counted'] / 1e6:.3f}**" for row in rows]))
    lines.append(_row(f"{figure} per MAC", [f"{row['counted'] / row['macs']:.2f}" for row in rows]))
    bounds = [f"{row['bound'] / 1e6:.3f} ({row['ratio_to_bound']:.2f})" for row in rows]
    lines.append(_row(f"bound, M {figure} (Midge / bound)", bounds))
    names = dict.fromkeys((peer["peer"], peer["board"]) for row in rows for peer in row["peers"])
    for name in sorted(names, key=lambda name: (name[1] != "", name[0] != COMPARED, name)):
        found = [next((p for p in row["peers"] if (p["peer"], p["board"]) == name), None) for row in rows]
        cells = [f"{p['counted'] / 1e6:.3f} ({p['times_midge']:.2f} ×)" if p else "–" for p in found]
        lines.append(_row(f"{name[0]}, on {name[1]}" if name[1] else name[0], cells))
    lines.append(_row("Midge, RAM", [size(row["ram_bytes"]["total"]) for row in rows]))
    lines.append(_row("Midge, flash", [size(row["flash_bytes"]["total"]) for row in rows]))
    if any("interpreter_flash_bytes" in row for row in rows):
        cells = [
            f"{size(row['interpreter_flash_bytes'])} ({row['times_interpreter_flash']:.0%})"
            if "interpreter_flash_bytes" in row else "–" for row in rows
        ]  # fmt: skip
        lines.append(_row("flash, of an interpreter", cells))
    lines.append(_row("values that differ from NumPy's", [str(row["mismatches"]) for row in rows]))
    return "\n".join(lines) + "\n"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
