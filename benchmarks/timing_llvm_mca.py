"""Midge's pipelines against LLVM's, on the loops of Midge's own kernels: `python benchmarks/timing_llvm_mca.py MODEL …`.

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
from dataclasses import dataclass
from pathlib import Path

import midge
from midge.emulate.program import Program, load
from midge.emulate.timing import Pipeline
from midge.emulate.timing.classify import Instruction, decode
from midge.emulate.timing.dual_issue import DualIssue
from midge.emulate.timing.pipeline import is_control
from midge.errors import UnsupportedError
from midge.targets import core_board

COMMANDS = ("llvm-mca", *(f"llvm-mca-{version}" for version in range(21, 13, -1)))
CORES = {"cortex-m4": "+vfp4d16sp", "cortex-m7": "+fp-armv8d16"}
ROUNDS = 200
HARNESS = ("harness_", "host_", "start_")


@dataclass(frozen=True, slots=True)
class Loop:
    """The instructions of one round, with the branch back at the end."""

    function: str
    address: int
    code: tuple[Instruction, ...]


def main(arguments: list[str]) -> None:
    """Compare on each model; a line for each loop that differs by more than 5 %, and one for each core."""
    command = next(filter(None, map(shutil.which, COMMANDS)), None)
    if command is None:
        print("skipped: no llvm-mca on PATH (Debian: apt-get install llvm)")
        return
    quiet = "--all" not in arguments
    paths = [Path(name) for name in arguments if not name.startswith("--")]
    print(_call([command, "--version"], "").strip().splitlines()[1].strip())
    print("| core | model | loop (instructions) | Midge | LLVM | difference |")
    print("|---|---|---|---:|---:|---:|")
    for core in CORES:
        pairs = [pair for path in paths for pair in _compare(command, core, path, quiet)]
        ours, theirs = (sum(pair[i] for pair in pairs) for i in (0, 1))
        within = sum(abs(a / b - 1) <= 0.05 for a, b in pairs)
        print(f"| {core} | all | {within} of {len(pairs)} loops within 5 % | {ours:.0f} | {theirs:.0f} | "
              f"{ours / theirs - 1:+.1%} |", flush=True)  # fmt: skip


def _compare(command: str, core: str, path: Path, quiet: bool) -> list[tuple[float, float]]:
    """Cycles of a round of each loop, by Midge and by LLVM."""
    with tempfile.TemporaryDirectory(prefix="midge-") as folder:
        midge.compile(path, core=core, out=folder)
        loops = _unique(loops_of(load(Path(folder) / "firmware.elf")))
    theirs = llvm_cycles(command, core, loops)
    pairs = []
    for loop, llvm in zip(loops, theirs, strict=True):
        ours = midge_cycles(core, loop)
        pairs.append((ours, llvm))
        if not quiet or abs(ours / llvm - 1) > 0.05:
            print(f"| {core} | {path.stem} | {loop.function} {loop.address:#x} ({len(loop.code)}) | {ours:g} | "
                  f"{llvm:g} | {ours / llvm - 1:+.1%} |", flush=True)  # fmt: skip
    return pairs


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


def midge_cycles(core: str, loop: Loop) -> float:
    """One round in the steady state, its branch costing one slot."""
    pipeline = Pipeline(core, core_board(core).core.timing)
    if pipeline.kinds is None:
        return pipeline.body(loop.code, None) + pipeline.number("branch_not_taken")
    issuing = DualIssue(pipeline.kinds)
    ends = []
    for _ in range(ROUNDS):
        for instruction in loop.code:
            issuing.issue(instruction)
        ends.append(issuing.end)
    return (ends[-1] - ends[ROUNDS // 2 - 1]) / (ROUNDS // 2)


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
