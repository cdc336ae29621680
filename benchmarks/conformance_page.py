"""The page docs/conformance.md, from the records."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from conformance_model import MOST_CONSTANT_BYTES, MOST_MACS, SAMPLES
from conformance_scope import TEXT

Record = dict[str, Any]
Records = Mapping[str, Record]
NOTES = Path(__file__).with_suffix("").parent / "conformance_notes.toml"
"""Why a model deviates, where somebody has looked into it."""
MOST_OFF = 1e-3
"""Share of values that may be more than a step apart where the reference computes integers in float32."""
HEAD = f"""# Conformance

<!-- Written by `python benchmarks/conformance.py` from benchmarks/results/conformance.jsonl. Do not edit. -->

What happens to models that other projects publish, one by one: imported, compiled for a Cortex-M4 with memories as
large as needed, run on the emulated core with {SAMPLES} random inputs, and all values compared with what LiteRT's
reference kernels (.tflite) or ONNX Runtime (.onnx) make of the same file. They **agree** where

- integers of .tflite files are equal, bit for bit;
- float32 values are at most 1e-5 of the tensor's largest value apart;
- integers of .onnx files are at most one step of the output's quantisation apart, for at least 99.9 % of the values:
  ONNX Runtime scales accumulators in float32.

The firmware's values are also compared with Midge's interpreter: integers must be equal always. Models of more than
{MOST_MACS / 1e6:.0f} million multiply-accumulates are compiled for the core, but run on this computer (*host*); those
with more than {MOST_CONSTANT_BYTES >> 20} MB of constants are computed by Midge's interpreter only.

## Scope
{TEXT}"""


def page(records: Records) -> str:
    """The whole page."""
    notes = tomllib.loads(NOTES.read_text(encoding="utf-8"))
    scoped = {name: record for name, record in records.items() if is_in_scope(record)}
    parts = [HEAD, "\n## Summary\n", _summary(records), _refused(scoped, notes), _deviating(scoped, notes)]
    for folder in _folders(scoped):
        rows = {name: record for name, record in scoped.items() if _folder(name) == folder}
        parts += [f"\n## Models in scope: {folder}\n", _table(rows)]
    parts += ["\n## Models that are out of scope, or invalid\n", _outside(records)]
    return "\n".join(parts)


def is_in_scope(record: Record) -> bool:
    return "died" in record or not (record["invalid"] or record["scope"])


def agrees(record: Record) -> bool:
    """The rule at the head of the page."""
    if record.get("mismatches") is None or record.get("from_interpreter") or record.get("failed"):
        return False
    return record["mismatches"] <= (MOST_OFF * record["compared"] if record["steps"] else 0)


def _folder(name: str) -> str:
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "zoo" else parts[0]


def _folders(records: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(_folder, records)))


def _summary(records: Records) -> str:
    head = ("folder", "models", "valid and in scope", "imported", "compiled", "agree", "others refused with reasons")
    rows = [head, ("---", *("---:",) * (len(head) - 1))]
    for folder in (*_folders(records), "all"):
        chosen = [record for name, record in records.items() if folder in ("all", _folder(name))]
        scoped = [record for record in chosen if is_in_scope(record)]
        others = [record for record in chosen if not is_in_scope(record)]
        counts = [sum(map(test, scoped)) for test in (_imported, _compiled, agrees)]
        rows.append((folder, str(len(chosen)), str(len(scoped)), *(_share(n, len(scoped)) for n in counts),
                     f"{sum(not _imported(record) for record in others)} of {len(others)}"))  # fmt: skip
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _imported(record: Record) -> bool:
    return bool(record.get("imported"))


def _compiled(record: Record) -> bool:
    return bool(record.get("compiled")) or record.get("where") == "interpreter"


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.1f} %)" if total else "–"


def _refused(records: Records, notes: Mapping[str, str]) -> str:
    lines = [f"- `{name}`: {_text(record)}{_note(name, notes)}\n" for name, record in records.items()
             if not _imported(record)]  # fmt: skip
    return "\n## In scope, but refused\n\n" + ("".join(lines) or "None.\n")


def _deviating(records: Records, notes: Mapping[str, str]) -> str:
    lines = []
    for name, record in records.items():
        if _imported(record) and not (_compiled(record) and agrees(record)):
            what = record.get("failed") or _difference(record)
            lines.append(f"- `{name}`: {what}{_note(name, notes)}\n")
    return "\n## Imported, but not compiled, or deviating\n\n" + ("".join(lines) or "None.\n")


def _note(name: str, notes: Mapping[str, str]) -> str:
    return f". {notes[name]}" if name in notes else ""


def _text(record: Record) -> str:
    return (record.get("died") or record["refused"]).replace("|", "\\|")


def _difference(record: Record) -> str:
    if record.get("died"):
        return record["died"]
    if record.get("from_interpreter"):
        return f"firmware: {record['from_interpreter']} of {record['values']:,} values differ from the interpreter's"
    if record.get("mismatches") is None:
        return "not compared"
    found = f"{record['mismatches']:,} of {record['compared']:,} values differ"
    return f"{found}, by up to {record['max_abs_diff']:.3g} ({record['max_rel_diff']:.2g} of the largest)"


def _table(records: Records) -> str:
    rows = [("model", "MACs", "imported", "ran on", "agrees", "largest difference, relative")]
    rows.append(("---", "---:", "---", "---", "---", "---:"))
    for name, record in records.items():
        if not _imported(record):
            rows.append((_short(name), "", "no", "", "", ""))
            continue
        largest = record.get("max_rel_diff")
        rows.append((_short(name), f"{record['macs']:,}", "yes", record.get("where", "–"),
                     "yes" if agrees(record) else "**no**", "–" if largest is None else f"{largest:.1e}"))  # fmt: skip
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _short(name: str) -> str:
    return f"`{name.removeprefix(_folder(name) + '/')}`"


def _outside(records: Records) -> str:
    rows = [("model", "why", "Midge"), ("---",) * 3]
    for name, record in records.items():
        if not is_in_scope(record):
            why = f"its runtime: {record['invalid']}" if record["invalid"] else record["scope"]
            answer = "imports it" if _imported(record) else _text(record)
            rows.append((f"`{name}`", why.replace("|", "\\|"), answer))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
