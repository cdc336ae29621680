"""What happens to every model of some folders: `python benchmarks/conformance.py [OPTIONS] [FOLDER …]`.

Each .tflite and .onnx file is imported, compiled for a Cortex-M4 without limits of memory, run on the emulated core,
and compared with LiteRT's reference kernels or ONNX Runtime, in a process of its own (10 minutes, 6 GB of address
space), `-j N` at a time. Records go to `benchmarks/results/conformance.jsonl` as they are made, and the page
`docs/conformance.md` is written from them. Models that have a record are not run again, unless the file changed, its
path matches a PATTERN (`--again 'zoo/unit/*'`; `--again '*'`: all), or, with `--open`, it is in scope and did not
agree. Without folders: `zoo` and `golden-*` in ../shared/models.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import limited
from conformance_model import examine
from conformance_page import agrees, is_in_scope, page
from limited import Limits, Record

ROOT = Path(__file__).resolve().parents[1]
MODELS = Path(os.environ.get("MIDGE_SHARED", ROOT.parent / "shared")) / "models"
RECORDS, PAGE = ROOT / "benchmarks" / "results" / "conformance.jsonl", ROOT / "docs" / "conformance.md"
LIMITS = Limits(600.0, 6 << 30)


def main(arguments: list[str]) -> int:
    """Run what has no record yet, and write the page. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--open", action="store_true")
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    folders = options.folders or [MODELS / "zoo", *sorted(MODELS.glob("golden-*"))]
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        print(f"no such folder: {', '.join(missing)}", file=sys.stderr)
        return 2
    found = {f"{folder.name}/{path.relative_to(folder).as_posix()}": path for folder in folders
             for path in sorted(folder.rglob("*")) if path.suffix in (".tflite", ".onnx")}  # fmt: skip
    records = {name: record for name, record in read(RECORDS).items() if name in found}
    due = [name for name in found if _is_due(name, found[name], records, options.again, open_=options.open)]
    fresh = sorted(due, key=lambda name: found[name].stat().st_size)  # small ones first: most of the page, soon
    work = functools.partial(_examine, found)
    for number, (name, record) in enumerate(limited.each(work, fresh, LIMITS, options.jobs), start=1):
        records[name] = {"sha256": _sha256(found[name])} | record
        print(f"{number}/{len(fresh)} {name}: {_summary(record)}", flush=True)
        write(RECORDS, {name: records[name] for name in found if name in records})
    PAGE.write_text(page(records), encoding="utf-8", newline="\n")
    return 0


def _examine(found: dict[str, Path], name: str) -> Record:
    return examine(found[name])


def _is_due(name: str, path: Path, records: dict[str, Record], again: Sequence[str], *, open_: bool) -> bool:
    record = records.get(name)
    if record is None or any(fnmatch.fnmatch(name, pattern) for pattern in again):
        return True
    if open_ and is_in_scope(record) and not agrees(record):
        return True
    return record.get("sha256") != _sha256(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _summary(record: Record) -> str:
    if "died" in record:
        return f"died: {record['died']}"
    if not record["imported"]:
        return f"refused: {record['refused'][:100]}"
    return f"{record.get('where', 'not run')}, {record.get('mismatches', '?')} of {record.get('compared', '?')} differ"


def read(path: Path) -> dict[str, Record]:
    """Records by the name of the model; none where there is no file."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {record.pop("name"): record for record in map(json.loads, lines)}


def write(path: Path, records: dict[str, Record]) -> None:
    """One line for each record, in the order given."""
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps({"name": name, **record}, ensure_ascii=False) + "\n" for name, record in records.items()]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
