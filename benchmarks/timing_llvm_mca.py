"""Midge's pipelines against LLVM's, on loops of Midge's kernels: `python benchmarks/timing_llvm_mca.py MODEL …`.

Compiles each model for the Cortex-M4, M7, M33 and M55 (or for `--core CORE`), takes every loop that is one straight
piece of code, and prints cycles of a round by Midge's timing table and by `llvm-mca`, which reads LLVM's scheduling
models; last the table of docs/timing.md. Neither side counts what a taken branch costs beyond its own slot, because
LLVM's models do not say. Loops with `IT` are left out: llvm-mca does not take them. Skips, with a reason, where
llvm-mca is absent (Debian: package llvm; the Cortex-M55 needs llvm-18 or newer).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import midge
from midge.emulate.program import Program, load
from midge.emulate.timing import Pipeline
from midge.emulate.timing.classify import decode
from midge.emulate.timing.dual_issue import DualIssue
from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.kinds import Kind, kind_name
from midge.emulate.timing.overlapped import LOOP_END, Overlapped
from midge.emulate.timing.pipeline import is_control
from midge.errors import UnsupportedError
from midge.targets import core_board

COMMANDS = (*(f"llvm-mca-{version}" for version in range(22, 13, -1)), "llvm-mca")
FEATURES = {"cortex-m4": "+vfp4d16sp", "cortex-m7": "+fp-armv8d16", "cortex-m33": "+dsp", "cortex-m55": "+mve.fp,+lob"}
TRIPLES = {"cortex-m33": "thumbv8m.main-none-eabihf", "cortex-m55": "thumbv8.1m.main-none-eabihf"}
FIRST_WITH_M55 = 18
ROUNDS = 200
TOLERANCE = 0.05
HARNESS = ("harness_", "host_", "start_")


@dataclass(frozen=True, slots=True)
class Loop:
    """The instructions of one round, with the branch back at the end."""

    function: str
    address: int
    code: tuple[Instruction, ...]
    bytes_: bytes


def main(arguments: list[str]) -> None:
    """Compare on each model; a line for each that differs by more than 5 % (--all: each), and a table of the cores."""
    command = next(filter(None, map(shutil.which, COMMANDS)), None)
    if command is None:
        print("skipped: no llvm-mca on PATH (Debian: apt-get install llvm)")
        return
    chosen = [arguments.pop(i + 1) for i, name in reversed(list(enumerate(arguments))) if name == "--core"]
    paths = [Path(name) for name in arguments if not name.startswith("--")]
    version = _call([command, "--version"], "")
    print(" ".join(version.split()[:4]))
    major = int((re.search(r"version (\d+)", version) or ["", "0"])[1])
    print("| core | model | loop (instructions) | Midge | Midge, read as llvm-mca reads | llvm-mca | difference |")
    print("|---|---|---|---:|---:|---:|---:|")
    summary = []
    for core in chosen or FEATURES:
        if core == "cortex-m55" and major < FIRST_WITH_M55:
            print(f"skipped: LLVM {major} has no model of the Cortex-M55; {FIRST_WITH_M55} has")
            continue
        rows = [row for path in paths for row in _compare(command, core, path, "--all" in arguments)]
        if rows:
            summary.append(_summary(core, rows))
    print("\n| core | Midge | Midge's pipeline, read as llvm-mca reads | llvm-mca | within 5 %: Midge | as it reads |")
    print("\n".join(["|---|---:|---:|---:|---:|---:|", *summary]))


def _summary(core: str, rows: list[tuple[float, float, float]]) -> str:
    """A line of the table of docs/timing.md."""
    ours, read, llvm = map(sum, zip(*rows, strict=True))
    within = [sum(abs(row[column] / row[2] - 1) <= TOLERANCE for row in rows) for column in (0, 1)]
    figures = [f"{ours:,.0f} ({ours / llvm - 1:+.1%})", f"{read:,.0f} ({read / llvm - 1:+.1%})", f"{llvm:,.0f}"]
    return f"| {core} | {' | '.join(figures)} | {within[0]} of {len(rows)} | {within[1]} of {len(rows)} |"


def _line(core: str, model: str, loop: str, ours: float, read: float, llvm: float) -> str:
    return f"| {core} | {model} | {loop} | {ours:g} | {read:g} | {llvm:g} | {read / llvm - 1:+.1%} |"


def _compare(command: str, core: str, path: Path, everything: bool) -> list[tuple[float, float, float]]:
    """Cycles of a round of each loop: by Midge, by Midge's table read as llvm-mca reads, by llvm-mca."""
    with tempfile.TemporaryDirectory(prefix="midge-") as folder:
        midge.compile(path, core=core, out=folder)
        loops = _unique(loops_of(load(Path(folder) / "firmware.elf")))
    rows = []
    for loop, llvm in zip(loops, llvm_cycles(command, core, loops), strict=True):
        rows.append((midge_cycles(core, loop), midge_cycles(core, loop, as_llvm_mca=True), llvm))
        if everything or abs(rows[-1][1] / llvm - 1) > TOLERANCE:
            print(_line(core, path.stem, f"{loop.function} ({len(loop.code)})", *rows[-1]), flush=True)
    return rows


def loops_of(program: Program) -> Iterator[Loop]:
    """Conditional branches back to a place of their function with no other branch between."""
    for function in program.functions:
        if function.name.startswith(HARNESS):
            continue
        address, line = function.address, []
        for instruction in _instructions(program, function.address, function.bytes):
            line.append((address, instruction))
            address += instruction.bytes
            if not is_control(instruction):
                continue
            target = re.search(r"#(0x[0-9a-f]+)$", instruction.text)
            code = [(at, one) for at, one in line if target and at >= int(target[1], 16)]
            if code and target and code[0][0] == int(target[1], 16) and instruction.class_ in ("branch", LOOP_END):
                start = code[0][0]
                yield Loop(function.name, start, tuple(one for _, one in code), program.code(start, address - start))
            line = []


def _instructions(program: Program, address: int, count: int) -> Iterator[Instruction]:
    """Until the end, or the first bytes that are no code: constants after it."""
    end = address + count
    while address < end:
        wide = program.code(address, 2)[1] >> 3 in (0b11101, 0b11110, 0b11111)
        try:
            (instruction,) = decode(program.code(address, 4 if wide else 2), address)
        except (UnsupportedError, ValueError):
            return
        yield instruction
        address += instruction.bytes


def _unique(loops: Iterator[Loop]) -> list[Loop]:
    """Each sequence of instructions once, without those that llvm-mca does not take."""
    found = {tuple(_assembly(one) for one in loop.code[:-1]): loop for loop in loops}
    return [loop for loop in found.values() if not any(one.class_ == "it" for one in loop.code)]


def midge_cycles(core: str, loop: Loop, as_llvm_mca: bool = False) -> float:
    """One round in the steady state, its branch costing one slot."""
    pipeline = Pipeline(core, core_board(core).core.timing)
    if pipeline.kinds is None:
        return pipeline.body(loop.code, None) + pipeline.number("branch_not_taken")
    issuing = _issuing(pipeline, core, as_llvm_mca)
    ends = []
    for _ in range(ROUNDS):
        for instruction in loop.code:
            if instruction.class_ != LOOP_END:
                issuing.issue(instruction)
        ends.append(issuing.end)
    return (ends[-1] - ends[ROUNDS // 2 - 1]) / (ROUNDS // 2)


def _issuing(pipeline: Pipeline, core: str, as_llvm_mca: bool) -> DualIssue | Overlapped:
    """A pipeline to issue instructions to."""
    kinds = dict(pipeline.kinds or {})
    if core in ("cortex-m33", "cortex-m55"):
        if as_llvm_mca and core == "cortex-m55":
            kinds |= {name: replace(kinds[name], words_per_cycle=0) for name in ("vector_gather", "vector_scatter")}
        return Overlapped(kinds, pipeline.light)
    if as_llvm_mca:
        kinds |= {name: replace(kinds[name], early=_without_loaded(kinds[name])) for name in kinds if "mul" in name}
        # LLVM attaches the early read of SSAT and USAT to their first operand, which is a number.
        kinds["saturate"] = replace(kinds["saturate"], early={})
        kinds["store"] = replace(kinds["store"], units=("store",))
    return DualIssue(lambda one: kinds[kind_name(one)], as_llvm_mca)


def _without_loaded(kind: Kind) -> dict[str, int]:
    """LLVM has loaded operands of multiplications as early as others."""
    return {role: cycles for role, cycles in kind.early.items() if role != "loaded"}


def llvm_cycles(command: str, core: str, loops: list[Loop]) -> list[float]:
    """The same from llvm-mca: the difference of two runs, so that its beginning and end are not in it."""
    if not loops:
        return []
    lines = [".syntax unified", ".thumb"]
    for number, loop in enumerate(loops):
        lines += [f"@ LLVM-MCA-BEGIN loop{number}", *_text(command, core, loop), f"@ LLVM-MCA-END loop{number}"]
    totals = []
    for rounds in (ROUNDS // 2, ROUNDS):
        said = _call(
            [command, *_target(core), f"-iterations={rounds}", "-instruction-info=0", "-resource-pressure=0"],
            "\n".join(lines) + "\n",
        )  # fmt: skip
        totals.append([int(count) for count in re.findall(r"Total Cycles:\s+(\d+)", said)])
    return [(many - few) / (ROUNDS - ROUNDS // 2) for few, many in zip(*totals, strict=True)]


def _target(core: str) -> list[str]:
    triple = TRIPLES.get(core, "thumbv7em-none-eabihf")
    return [f"-mtriple={triple}", f"-mcpu={core}", f"-mattr={FEATURES[core]}"]


def _text(command: str, core: str, loop: Loop) -> list[str]:
    """The loop as LLVM reads it, without the end of a low-overhead one; Helium as LLVM itself prints it."""
    if core != "cortex-m55":
        return [_assembly(one) for one in loop.code]
    code = loop.bytes_[:-4] if loop.code[-1].class_ == LOOP_END else loop.bytes_
    triple, *rest = _target(core)
    said = _call([command.replace("llvm-mca", "llvm-mc"), "--disassemble", triple.replace("mtriple", "triple"), *rest],
                 " ".join(f"{byte:#04x}" for byte in code))  # fmt: skip
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.strip().startswith(".")]
    return [re.sub(r"^(b\w\w|cbn?z\s+\w+,)(\.w)?\s+#.*", r"\1 .", line) for line in lines]


def _assembly(instruction: Instruction) -> str:
    """The instruction as LLVM reads it; where a branch goes does not matter."""
    text = re.sub(r"#0x[0-9a-f]+$", ".", instruction.text) if instruction.class_ == "branch" else instruction.text
    return text.replace(".w ", " ") if text.startswith(("cb", "b")) and instruction.class_ == "branch" else text


def _call(command: list[str], text: str) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main(sys.argv[1:])
