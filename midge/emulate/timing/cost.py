"""Instructions and cycles of each owner, from the counts of its blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.emulate.program import Program
from midge.emulate.timing.classify import Instruction, decode, instruction_count
from midge.emulate.timing.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Cost:
    """By owner; number 0 belongs to nobody."""

    instructions: tuple[int, ...]
    cycles: tuple[float, ...]


def cost(program: Program, blocks: np.ndarray, owner_count: int, pipeline: Pipeline | None) -> Cost:
    """Add up block counts (records of `counter.BLOCK`). Without a pipeline there are instructions only."""
    instructions = [0] * (owner_count + 1)
    cycles = [0.0] * (owner_count + 1)
    decoded: dict[tuple[int, int], tuple[Instruction, ...]] = {}
    ends: dict[int, Instruction] = {}
    keys = [(int(block["address"]), int(block["bytes"])) for block in blocks]
    for address, count in dict.fromkeys(keys) if pipeline else ():
        decoded[address, count] = decode(program.code(address, count), address)
        ends[address + count] = decoded[address, count][-1]
    for key, block in zip(keys, blocks, strict=True):
        owner, counts = int(block["owner"]), block["counts"].astype(object)
        instructions[owner] += int(counts.sum()) * instruction_count(program.code(*key))
        if pipeline is not None:
            cycles[owner] += _cycles(pipeline, decoded[key], ends.get(key[0]), counts)
    return Cost(tuple(instructions), tuple(cycles))


def _cycles(pipeline: Pipeline, block: tuple[Instruction, ...], before: Instruction | None, counts: np.ndarray) -> float:
    """All runs of one block. `counts[entered by a branch][left by a branch]`."""
    after_branch = pipeline.body(block, None)
    in_line = pipeline.body(block, before)
    exits = int(counts[:, 0].sum()) * pipeline.exit(block[-1], False) + int(counts[:, 1].sum()) * pipeline.exit(
        block[-1], True
    )
    return int(counts[0].sum()) * in_line + int(counts[1].sum()) * after_branch + exits
