"""Emulated against published cycles: `python benchmarks/timing_published.py [PEERS.json]`, Markdown on stdout.

The file (default: ../shared/peers.json) has cycles of programs on emulated cores without wait states, and times that
were published for hardware. An engine that is in both lists can be compared; the builds are not the same, so a ratio
holds what the memory and the build cost together. Skips, with a reason, where there is no file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parents[2] / "shared" / "peers.json"
MODELS = ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8")
TFLM, MICROTVM, NATIVE = "tflite-micro + cmsis-nn", "microtvm_cmsis_nn", "microtvm_native"


@dataclass(frozen=True, slots=True)
class Pair:
    """A published engine on a board, the same engine as emulated, and why the two differ."""

    board: str
    software: str
    peer: str
    core: str
    why: str


PAIRS = (
    Pair("Nucleo-L4R5ZI reference", "TFLM", TFLM, "cortex-m4",
         "2020's CMSIS-NN and GCC 6: other kernels, so no statement about timing"),
    Pair("Nucleo-L4R5ZI OctoML", "microTVM + CMSIS-NN", MICROTVM, "cortex-m4",
         "flash at 5 wait states behind 1 KB + 256 bytes of cache, which `--board nucleo-l4r5zi` models"),
    Pair("Nucleo-L4R5ZI OctoML", "microTVM native", NATIVE, "cortex-m4",
         "the same; another schedule, where more is emulated than was published (kws)"),
    Pair("nRF5340-DK", "microTVM + CMSIS-NN", MICROTVM, "cortex-m4",
         "Cortex-M33 by the Cortex-M4's program and table; flash at 128 MHz behind an 8 KB cache"),
    Pair("EK-RA6M4", "TFLM", TFLM, "cortex-m33",
         "200 MHz from flash with a small cache; GCC 8.3"),
    Pair("EK-RA8D1", "TFLM", TFLM, "cortex-m55",
         "published for a Cortex-M85, which issues two instructions a cycle; LLVM 17"),
)  # fmt: skip
LIKE_FOR_LIKE = ("X-CUBE-AI 9.0", ("Nucleo-L4R5ZI ST", "H7A3ZI ST", "U575 ST"))


def main(arguments: list[str]) -> None:
    """Two tables: each pair by model, and one engine on three cores."""
    path = Path(arguments[0]) if arguments else PEERS
    if not path.is_file():
        print(f"skipped: no {path}")
        return
    peers = json.loads(path.read_text(encoding="utf-8"))
    print("| hardware | software | model | emulated, no wait states | published | ratio | what differs |")
    print("|---|---|---|---:|---:|---:|---|")
    for pair in PAIRS:
        for model, emulated, published in compared(peers, pair):
            print(f"| {pair.board} | {pair.software} | {model} | {emulated:,} | {published:,} "
                  f"| {emulated / published:.2f} | {pair.why} |")  # fmt: skip
    software, boards = LIKE_FOR_LIKE
    print(f"\n| {software}, cycles published | {' | '.join(boards)} | {boards[1]} / {boards[0]} |")
    print("|---|" + "---:|" * (len(boards) + 1))
    for model in MODELS:
        row = [published_cycles(peers, board, software, model) for board in boards]
        if all(row):
            print(f"| {model} | {' | '.join(f'{cycles:,}' for cycles in row)} | {row[1] / row[0]:.2f} |")


def compared(peers: dict[str, Any], pair: Pair) -> Iterator[tuple[str, int, int]]:
    """Model, emulated and published cycles, for each model that has both."""
    for model in MODELS:
        emulated = [
            entry["cycles"]
            for entry in peers["measured"]
            if (entry["peer"], entry["core"], entry["model"]) == (pair.peer, pair.core, model)
        ]
        published = published_cycles(peers, pair.board, pair.software, model)
        if emulated and published:
            yield model, emulated[0], published


def published_cycles(peers: dict[str, Any], board: str, software: str, model: str) -> int:
    """Of the first entry whose board and software begin so; 0 where there is none."""
    for entry in peers["published"]:
        if entry["model"] == model and entry["board"].startswith(board) and entry["software"].startswith(software):
            return int(entry["cycles"])
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
