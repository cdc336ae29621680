"""Instructions and cycles of each owner, from the counts of its blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.emulate.program import Program
from midge.emulate.timing.classify import Instruction, decode, instruction_count
from midge.emulate.timing.pipeline import Pipeline

Decoded = dict[tuple[int, int], tuple[Instruction, ...]]


@dataclass(frozen=True, slots=True)
class Cost:
    """By owner; number 0 belongs to nobody."""

    instructions: tuple[int, ...]
    cycles: tuple[float, ...]


def decode_blocks(program: Program, blocks: np.ndarray) -> Decoded:
    """The instructions of each block (records of `counter.BLOCK`), by address and size."""
    keys = dict.fromkeys((int(block["address"]), int(block["bytes"])) for block in blocks)
    return {(address, count): decode(program.code(address, count), address) for address, count in keys}


def cost(program: Program, blocks: np.ndarray, owner_count: int, pipeline: Pipeline | None,
         decoded: Decoded | None = None) -> Cost:  # fmt: skip
    """Add up block counts (records of `counter.BLOCK`). Without a pipeline there are instructions only."""
    instructions = [0] * (owner_count + 1)
    cycles = [0.0] * (owner_count + 1)
    if pipeline is not None and decoded is None:
        decoded = decode_blocks(program, blocks)
    ends = {address + count: block[-1] for (address, count), block in (decoded or {}).items()}
    for block in blocks:
        key, owner, counts = (int(block["address"]), int(block["bytes"])), int(block["owner"]), block["counts"]
        instructions[owner] += int(counts.sum()) * instruction_count(program.code(*key))
        if pipeline is not None and decoded is not None:
            cycles[owner] += _cycles(pipeline, decoded[key], ends.get(key[0]), counts)
    return Cost(tuple(instructions), tuple(cycles))


def _cycles(pipeline: Pipeline, block: tuple[Instruction, ...], before: Instruction | None,
            counts: np.ndarray) -> float:  # fmt: skip
    """All runs of one block. `counts[entered by a branch][left by a branch]`."""
    after_branch = pipeline.body(block, None)
    in_line = pipeline.body(block, before)
    exits = int(counts[:, 0].sum()) * pipeline.exit(block[-1], False) + int(counts[:, 1].sum()) * pipeline.exit(
        block[-1], True
    )
    return int(counts[0].sum()) * in_line + int(counts[1].sum()) * after_branch + exits
