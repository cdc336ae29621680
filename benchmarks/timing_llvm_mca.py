"""Midge's pipelines against LLVM's, on loops of Midge's kernels: `python benchmarks/timing_llvm_mca.py MODEL …`.

Compiles each model for the Cortex-M4 and the Cortex-M7, takes every loop that is one straight piece of code, and
prints cycles of a round by Midge's timing table and by `llvm-mca`, which reads LLVM's scheduling models. Neither side
counts what a taken branch costs beyond its own slot, because LLVM's models do not say. Loops with `IT` are left out:
llvm-mca does not take them. Skips, with a reason, where llvm-mca is absent (Debian: package llvm).
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
from midge.emulate.timing.dual_issue import DualIssue, Kind, kind_name
from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.operands import plain_name
from midge.emulate.timing.pipeline import is_control
from midge.errors import UnsupportedError
from midge.targets import core_board

COMMANDS = ("llvm-mca", *(f"llvm-mca-{version}" for version in range(21, 13, -1)))
CORES = {"cortex-m4": "+vfp4d16sp", "cortex-m7": "+fp-armv8d16"}
SLOW_ON_M4 = ("mla", "mls", "smmla", "smmlar", "smmls", "smmlsr", "umlal", "umaal")
ROUNDS = 200
TOLERANCE = 0.05
HARNESS = ("harness_", "host_", "start_")


@dataclass(frozen=True, slots=True)
class Loop:
    """The instructions of one round, with the branch back at the end."""

    function: str
    address: int
    code: tuple[Instruction, ...]


def main(arguments: list[str]) -> None:
    """Compare on each model; a line for each that differs by more than 5 % (--all: each), and one for each core."""
    command = next(filter(None, map(shutil.which, COMMANDS)), None)
    if command is None:
        print("skipped: no llvm-mca on PATH (Debian: apt-get install llvm)")
        return
    paths = [Path(name) for name in arguments if not name.startswith("--")]
    print(" ".join(_call([command, "--version"], "").split()[:4]))
    print("| core | model | loop (instructions) | Midge | Midge, read as llvm-mca reads | llvm-mca | difference |")
    print("|---|---|---|---:|---:|---:|---:|")
    for core in CORES:
        rows = [row for path in paths for row in _compare(command, core, path, "--all" in arguments)]
        if rows:
            print(_line(core, "all", f"{len(rows)} loops", *map(sum, zip(*rows, strict=True))))
            within = sum(abs(read / llvm - 1) <= TOLERANCE for _, read, llvm in rows)
            print(f"\n{core}: {within} of {len(rows)} loops within {TOLERANCE:.0%}\n", flush=True)


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
            if code and target and code[0][0] == int(target[1], 16) and instruction.class_ == "branch":
                yield Loop(function.name, code[0][0], tuple(one for _, one in code))
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
    found = {tuple(_assembly(one) for one in loop.code): loop for loop in loops}
    return [loop for text, loop in found.items() if not any(line.startswith("it") for line in text)]


def midge_cycles(core: str, loop: Loop, as_llvm_mca: bool = False) -> float:
    """One round in the steady state, its branch costing one slot."""
    pipeline = Pipeline(core, core_board(core).core.timing)
    if pipeline.kinds is None and not as_llvm_mca:
        return pipeline.body(loop.code, None) + pipeline.number("branch_not_taken")
    kinds = dict(pipeline.kinds or {})
    if kinds and as_llvm_mca:
        # LLVM attaches the early read of SSAT and USAT to their first operand, which is a number.
        kinds["saturate"] = replace(kinds["saturate"], early={})
    issuing = DualIssue(lambda one: kinds[kind_name(one)] if kinds else _single_issue(one), as_llvm_mca)
    ends = []
    for _ in range(ROUNDS):
        for instruction in loop.code:
            issuing.issue(instruction)
        ends.append(issuing.end)
    return (ends[-1] - ends[ROUNDS // 2 - 1]) / (ROUNDS // 2)


def _single_issue(instruction: Instruction) -> Kind:
    """LLVM's whole model of the Cortex-M4: one instruction a cycle, loads and some multiplies a cycle longer."""
    slow = instruction.class_.startswith(("load", "float_load", "divide")) or plain_name(instruction) in SLOW_ON_M4
    three = instruction.class_ == "float_multiply_accumulate"
    return Kind((), latency=3 if three else 2 if slow else 1, alone=True)


def llvm_cycles(command: str, core: str, loops: list[Loop]) -> list[float]:
    """The same from llvm-mca: the difference of two runs, so that its beginning and end are not in it."""
    if not loops:
        return []
    lines = [".syntax unified", ".thumb"]
    for number, loop in enumerate(loops):
        lines += [f"@ LLVM-MCA-BEGIN loop{number}", *map(_assembly, loop.code), f"@ LLVM-MCA-END loop{number}"]
    totals = []
    for rounds in (ROUNDS // 2, ROUNDS):
        said = _call(
            [command, "-mtriple=thumbv7em-none-eabihf", f"-mcpu={core}", f"-mattr={CORES[core]}",
             f"-iterations={rounds}", "-instruction-info=0", "-resource-pressure=0"],
            "\n".join(lines) + "\n",
        )  # fmt: skip
        totals.append([int(count) for count in re.findall(r"Total Cycles:\s+(\d+)", said)])
    return [(many - few) / (ROUNDS - ROUNDS // 2) for few, many in zip(*totals, strict=True)]


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
