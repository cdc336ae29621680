"""Midge's in-order table against a first-order one: `python benchmarks/timing_first_order.py ELF [ARGS [MINUS_ARGS]]`.

The first-order table, with which `peers.json` was measured: loads 2 and loads after loads 1, a word of a multiple
transfer 1 and the transfer 1, taken branches 3, loads of the program counter 2 more, divisions 7 (floating point 14),
everything else 1; no wait states. Prints cycles of a firmware on a Cortex-M4 by both, and the difference.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from midge.emulate import profile as profiling
from midge.emulate.placement import place
from midge.emulate.program import load
from midge.emulate.timing import decode_blocks
from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.pipeline import is_control
from midge.targets import core_board

CORE = "cortex-m4"
FIXED = {"load_double": 3, "store_double": 2, "divide": 7, "float_divide": 14, "float_root": 14}
TAKEN, NOT_TAKEN, LOADED_PC = 3, 1, 2


def main(arguments: list[str]) -> None:
    elf, *runs = arguments
    first_order, midge = _cycles(Path(elf), runs[0] if runs else "")
    if len(runs) > 1:
        less = _cycles(Path(elf), runs[1])
        first_order, midge = first_order - less[0], midge - less[1]
    print(f"{Path(elf).name}: first order {first_order:,}, Midge {midge:,} ({midge / first_order - 1:+.2%})")


def _cycles(elf: Path, args: str) -> tuple[int, int]:
    """By the first-order table, and by Midge's."""
    program = load(elf)
    placed = place(program, core_board(CORE))
    counter, _, program = profiling.run(program, placed, args, None)
    decoded = decode_blocks(program, counter.blocks)
    total = sum(
        block_cycles(decoded[int(block["address"]), int(block["bytes"])], block["counts"]) for block in counter.blocks
    )
    return total, profiling.profile(elf, core_board(CORE), args).cycles


def block_cycles(code: tuple[Instruction, ...], counts: np.ndarray) -> int:
    """All runs of one block. `counts[entered by a branch][left by a branch]`."""
    runs, (stayed, left), total = int(counts.sum()), map(int, counts.sum(axis=0)), 0
    before = ""
    for instruction in code:
        if is_control(instruction) and instruction is code[-1]:
            loads = "load" in instruction.class_
            taken = cycles(instruction, before) + LOADED_PC if loads else TAKEN
            return total + stayed * NOT_TAKEN + left * taken
        total += runs * cycles(instruction, before)
        before = instruction.class_
    return total


def cycles(instruction: Instruction, before: str) -> int:
    """One that is no branch, after one of the class `before`."""
    if instruction.class_ in ("load", "float_load"):
        return 1 if before in ("load", "float_load") else 2
    if instruction.class_.endswith("_multiple"):
        return 1 + instruction.words
    return FIXED.get(instruction.class_, 1)


if __name__ == "__main__":
    main(sys.argv[1:])
