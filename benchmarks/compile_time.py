"""How long `midge compile` takes: `python benchmarks/compile_time.py [--only TARGET …] [--goals GOAL …] [--write]`.

Compiles the four MLPerf Tiny models for some targets, for `--optimize latency`, `ram` and `flash`, without `--tune`.
*Cold* is the first compilation of the model in a new cache folder, which holds nothing but what zig keeps for the
target (compiler-rt, put there by compiling the bundled model); *warm* is the same command again. Both are whole
processes, Python's start included. Wall time depends on what else the computer does; CPU time is that of the process
and all its children. Prints a table of each; with --write they go to `docs/compile-time.md`.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from midge.targets import cores

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("MIDGE_SHARED", ROOT.parent / "shared"))
PAGE = ROOT / "docs" / "compile-time.md"
DEMO = ROOT / "midge" / "demo" / "digits.tflite"
MODELS = ("kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "ad01_int8")
TARGETS = ("nucleo-l4r5zi", "cortex-m0plus")
GOALS = ("latency", "ram", "flash")
MOST_SECONDS = 10.0
HEAD = f"""# Compile time

Made by `python benchmarks/compile_time.py --write`: seconds of `midge compile MODEL` without `--tune`, as
wall / CPU time (the process and its children: the compiler), cold and warm. Cold is the first compilation of a model,
with zig's compiler-rt in its cache; then the same again. {MOST_SECONDS:g} s is the limit.
"""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of one process and its children."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} / {self.cpu:.1f}"


def main() -> int:
    """Measure and print; 1 where a compilation took more CPU time than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=TARGETS, metavar="TARGET")
    parser.add_argument("--goals", nargs="+", default=GOALS, choices=GOALS, metavar="GOAL")
    parser.add_argument("--models", type=Path, default=SHARED / "models" / "mlperf-tiny", metavar="FOLDER")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    missing = [str(path) for path in (arguments.models / f"{model}.tflite" for model in MODELS) if not path.is_file()]
    if missing:
        print(f"no such file: {', '.join(missing)}", file=sys.stderr)
        return 2
    found = {target: measure(target, arguments.models, arguments.goals) for target in arguments.only}
    text = "\n".join([HEAD, machine(), *(table(target, rows) for target, rows in found.items())])
    print(text)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8", newline="\n")
    slowest = max(seconds.cpu for rows in found.values() for pair in rows.values() for seconds in pair)
    return int(slowest > MOST_SECONDS)


def measure(target: str, folder: Path, goals: Sequence[str]) -> dict[tuple[str, str], tuple[Seconds, Seconds]]:
    """Cold and warm seconds by (model, goal)."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="midge-compile-time-") as place:
        environment = {**os.environ, "XDG_CACHE_HOME": f"{place}/cache", "LOCALAPPDATA": f"{place}/cache"}
        for goal in goals:
            compile_once(DEMO, target, goal, Path(place), environment)
            for model in MODELS:
                path = folder / f"{model}.tflite"
                cold, warm = (compile_once(path, target, goal, Path(place), environment) for _ in range(2))
                found[model, goal] = cold, warm
                print(f"{target}, {goal}, {model}: {cold}, {warm} again", file=sys.stderr)
    return found


def compile_once(model: Path, target: str, goal: str, place: Path, environment: dict[str, str]) -> Seconds:
    """One `midge compile`. What fails ends the benchmark with the command's own message."""
    where = "--core" if target in cores() else "--board"
    command = [sys.executable, "-m", "midge", "compile", str(model), where, target, "--optimize", goal,
               "-o", str(place / "out")]  # fmt: skip
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def machine() -> str:
    """What it was measured on."""
    return f"On {platform.machine()} with {os.cpu_count()} processors, Python {platform.python_version()}.\n"


def table(target: str, rows: dict[tuple[str, str], tuple[Seconds, Seconds]]) -> str:
    """One target as a section of Markdown."""
    goals = list(dict.fromkeys(goal for _, goal in rows))
    lines = [f"## {target}", "", f"| model | {' | '.join(f'{goal}, cold | {goal}, warm' for goal in goals)} |"]
    lines.append("|---|" + "---:|" * (2 * len(goals)))
    for model in dict.fromkeys(model for model, _ in rows):
        cells = [str(seconds) for goal in goals for seconds in rows[model, goal]]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
