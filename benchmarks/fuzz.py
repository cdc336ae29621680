"""Damaged models: `python benchmarks/fuzz.py [--count N] [--seed S] [-j N] [FOLDER …]`.

Mutation k of a seed is always the same file: one of the models of the folders (up to 300 kB; .tflite, .onnx, .keras,
.h5, .pt2), damaged in one of the ways of `fuzz_mutations.py`. Each is imported in a process of its own. What counts as
a failure: any exception but a MidgeError, the end of the process, more than 10 seconds of processor time, more than
2 GB of memory. Results are kept in `build/fuzz-SEED.jsonl`, so that an interrupted run goes on where it was; at the end
`docs/fuzzing.md` is written. `--show K` imports mutation K in this process, and writes it to `build/`. Without
folders: those of valid models in ../shared/models/zoo, and every fifth time one that `fuzz_sources.py` made of the
formats of Keras and PyTorch, which must be installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import limited
from fuzz_mutations import mutate
from limited import Limits, Record

import midge
from midge.errors import InternalError, MidgeError

ROOT = Path(__file__).resolve().parents[1]
ZOO = Path(os.environ.get("MIDGE_SHARED", ROOT.parent / "shared")) / "models" / "zoo"
VALID = ("classical_ml", "models", "models_quirky", "unit")
PAGE, BUILD = ROOT / "docs" / "fuzzing.md", ROOT / "build"
MOST_BYTES = 300_000
MOST_SECONDS, MOST_MEMORY_BYTES = 10.0, 2 << 30
LIMITS = Limits(6 * MOST_SECONDS, MOST_MEMORY_BYTES)
"""The wall clock is not the processor's: a busy machine gets more of it."""
_LATE = 12
"""Frames of a traceback that are kept."""
_WITHOUT_LIMIT = ("can't allocate memory", "Unable to allocate")
"""What PyTorch and NumPy say where only the limit kept them from taking gigabytes."""
SUFFIXES = (".tflite", ".onnx", ".keras", ".h5", ".pt2")
_TORCH = (".keras", ".h5", ".pt2")
_MADE_EVERY = 5


@dataclass(frozen=True, slots=True)
class Fuzz:
    """Sources, and the seed: everything that a mutation's bytes depend on but its number. `made`: further sources."""

    paths: Sequence[Path]
    seed: int
    made: Sequence[Path] = ()

    @property
    def sources(self) -> list[Path]:
        return [*self.paths, *self.made]

    def damaged(self, number: int) -> tuple[Path, str, bytes]:
        """The source, the kind of damage, and the file."""
        rng = Random(f"{self.seed}:{number}")
        path = rng.choice(self.made if self.made and number % _MADE_EVERY == 0 else self.paths)
        return (path, *mutate(path.read_bytes(), path.suffix, rng))

    def __call__(self, number: int) -> Record:
        """Import one mutation. Keys: source, kind, outcome (`imported`, an error's class, or `crash`), message, cpu,
        rss."""
        path, kind, content = self.damaged(number)
        outcome, message = imported(content, path.suffix)
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"source": path.name, "kind": f"{path.suffix[1:]} {kind}", "outcome": outcome, "message": message,
                "cpu": round(used.ru_utime + used.ru_stime, 2), "rss": used.ru_maxrss * 1024}  # fmt: skip


def imported(content: bytes, suffix: str) -> tuple[str, str]:
    """What becomes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        path.write_bytes(content)
        try:
            with _silence():
                midge.load(path)
        except MidgeError as error:
            if isinstance(error, InternalError) or "\n" in str(error):
                return "crash", f"{type(error).__name__}: {error}"
            if isinstance(error.__cause__, MemoryError) or any(words in str(error) for words in _WITHOUT_LIMIT):
                return "crash", f"out of memory, but says {error}"
            return type(error).__name__, str(error)[:300]
        except BaseException:
            return "crash", "".join(traceback.format_exc(limit=-_LATE))
    return "imported", ""


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What parsers in C++ write goes nowhere."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def is_failure(record: Record) -> bool:
    return (
        "died" in record or record["outcome"] == "crash" or record["cpu"] > MOST_SECONDS
        or record["rss"] > MOST_MEMORY_BYTES
    )  # fmt: skip


def sources(folders: Sequence[Path]) -> list[Path]:
    """Models that are small enough to damage many times."""
    return [path for folder in folders for path in sorted(folder.rglob("*"))
            if path.suffix in SUFFIXES and path.stat().st_size <= MOST_BYTES]  # fmt: skip


def made_sources() -> list[Path]:
    """Models of the formats of Keras and PyTorch."""
    from fuzz_sources import write

    with _silence():
        return write(BUILD / "fuzz-sources")


def main(arguments: list[str]) -> int:
    """Run what is left of the mutations, print failures, and write the page. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--show", type=int)
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    BUILD.mkdir(exist_ok=True)
    fuzz = Fuzz(sources(options.folders or [ZOO / name for name in VALID]), options.seed,
                [] if options.folders else made_sources())  # fmt: skip
    if not fuzz.paths:
        print("no models in the folders", file=sys.stderr)
        return 2
    if options.show is not None:
        return show(fuzz, options.show)
    warm_up(fuzz)
    records = run(fuzz, options.count, options.jobs)
    failures = {number: record for number, record in records.items() if is_failure(record)}
    if options.count >= 10_000 and not options.folders:
        PAGE.write_text(page(fuzz, records), encoding="utf-8", newline="\n")
    print(f"{len(records)} mutations, {len(failures)} failures")
    return int(bool(failures))


def warm_up(fuzz: Fuzz) -> None:
    """Load here what each child would have to load: one model of each format, and what folds constants."""
    import onnx.reference  # noqa: F401

    if any(path.suffix in _TORCH for path in fuzz.sources):
        import torch

        torch.set_num_threads(1)  # children of a process with threads would wait for them
    for suffix in SUFFIXES:
        for path in [path for path in fuzz.sources if path.suffix == suffix][:1]:
            imported(path.read_bytes(), suffix)
            mutate(path.read_bytes(), suffix, Random(0))


def run(fuzz: Fuzz, count: int, jobs: int) -> dict[int, Record]:
    """The records of mutations 0 to `count`, from the file and from work."""
    file = BUILD / f"fuzz-{fuzz.seed}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    records = {number: record for number, record in map(json.loads, lines) if number < count}
    with file.open("a", encoding="utf-8") as kept:
        left = [number for number in range(count) if number not in records]
        for number, record in limited.each(fuzz, left, LIMITS, jobs):
            records[number] = record
            kept.write(json.dumps([number, record]) + "\n")
            kept.flush()
            if is_failure(record):
                print(f"{number}: {record}", flush=True)
    return records


def show(fuzz: Fuzz, number: int) -> int:
    """One mutation, in this process."""
    path, kind, content = fuzz.damaged(number)
    damaged = BUILD / f"fuzz-{fuzz.seed}-{number}{path.suffix}"
    damaged.write_bytes(content)
    print(f"{kind} of {path}, written to {damaged}")
    outcome, message = imported(content, path.suffix)
    print(f"{outcome}: {message}")
    return int(outcome == "crash")


def page(fuzz: Fuzz, records: dict[int, Record]) -> str:
    """docs/fuzzing.md."""
    outcomes = ("imported", "ModelError", "UnsupportedError")
    kinds = sorted({record["kind"] for record in records.values() if "kind" in record})
    counts = Counter((record.get("kind", ""), record.get("outcome", "")) for record in records.values())
    failures = sum(map(is_failure, records.values()))
    rows: list[tuple[str, ...]] = [("damage", "files", "imported", "refused as invalid", "refused as unsupported")]
    rows.append(("---", *("---:",) * 4))
    for kind in kinds:
        found = [counts[kind, outcome] for outcome in outcomes]
        rows.append((kind, str(sum(found)), *map(str, found)))
    longest = max(record.get("cpu", 0.0) for record in records.values())
    largest = max(record.get("rss", 0) for record in records.values())
    return f"""# Damaged models

<!-- Written by `python benchmarks/fuzz.py`. Do not edit. -->

{len(records):,} files, made from {len(fuzz.sources)} models by seed {fuzz.seed}: bits flipped, words overwritten,
lengths changed, files cut short, blocks cut out and doubled, fields edited through the format's schema, members of
archives damaged, removed or exchanged (`benchmarks/fuzz_mutations.py`). Each is imported in a process of its own. A
failure is any exception but an error
with a message for users, the end of the process, more than {MOST_SECONDS:.0f} seconds of processor time, or more than
2 GB of address space.

**{failures} failures.** The longest import took {longest:.1f} s, the largest process had {largest / 2**20:.0f} MB.

{"".join(f"| {' | '.join(row)} |{chr(10)}" for row in rows)}"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
