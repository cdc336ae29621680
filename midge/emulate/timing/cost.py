"""Instructions and cycles of each owner, from the counts of its blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from midge.emulate.program import Program
from midge.emulate.timing.decoder import decode, instruction_count
from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.kinds import CONTEXT_INSTRUCTIONS
from midge.emulate.timing.overlapped import LOOP_END
from midge.emulate.timing.pipeline import Block, Pipeline

_TARGET = re.compile(r"#(0x[0-9a-f]+|\d+)$")
Decoded = dict[tuple[int, int], tuple[Instruction, ...]]


@dataclass(frozen=True, slots=True)
class Cost:
    """By owner; number 0 belongs to nobody."""

    instructions: tuple[int, ...]
    cycles: tuple[float, ...]


def decode_blocks(program: Program, blocks: np.ndarray) -> Decoded:
    """The instructions of each block (records of `counter.BLOCK`), by address and size."""
    keys = dict.fromkeys((int(block["address"]), int(block["bytes"])) for block in blocks)
    return {(address, count): decode(program.machine, program.code(address, count), address) for address, count in keys}


def cost(program: Program, blocks: np.ndarray, owner_count: int, pipeline: Pipeline | None,
         decoded: Decoded | None = None) -> Cost:  # fmt: skip
    """Add up block counts (records of `counter.BLOCK`). Without a pipeline there are instructions only."""
    instructions = [0] * (owner_count + 1)
    cycles = [0.0] * (owner_count + 1)
    if pipeline is not None and decoded is None:
        decoded = decode_blocks(program, blocks)
    ends = {address + count: code for (address, count), code in (decoded or {}).items()}
    jumps = _jumps(blocks, decoded) if decoded else {}
    free = _free_ends(decoded or {})
    for block in blocks:
        key, owner, counts = (int(block["address"]), int(block["bytes"])), int(block["owner"]), block["counts"]
        instructions[owner] += int(counts.sum()) * instruction_count(program.machine, program.code(*key))
        if pipeline is not None and decoded is not None:
            code, before = decoded[key], ends.get(key[0], ())
            after, after_end = jumps.get(key[0], ((), 0))
            # A loop of one block is in its steady state after two rounds.
            context = after * 2 if after is code else after
            cycles[owner] += pipeline.cycles(
                Block(code, before[-CONTEXT_INSTRUCTIONS:], context, key[0] % 4 != 0, sum(key) in free,
                      after_end in free), counts
            )  # fmt: skip
    return Cost(tuple(instructions), tuple(cycles))


def _jumps(blocks: np.ndarray, decoded: Decoded) -> dict[int, tuple[tuple[Instruction, ...], int]]:
    """For each target of direct branches the block that goes there most often, and the address of its end."""
    most: dict[int, tuple[int, tuple[Instruction, ...], int]] = {}
    for block in blocks:
        key = int(block["address"]), int(block["bytes"])
        code, taken = decoded[key], int(block["counts"][:, 1].sum())
        target = _target(code[-1])
        if target is not None and taken > most.get(target, (0, (), 0))[0]:
            most[target] = (taken, code, sum(key))
    return {target: (code, end) for target, (_, code, end) in most.items()}


def _target(last: Instruction) -> int | None:
    match = _TARGET.search(last.text) if last.class_ in ("branch", "branch_link", LOOP_END) else None
    return int(match[1], 0) if match is not None else None


def _free_ends(decoded: Decoded) -> frozenset[int]:
    """Where blocks end that end a low-overhead loop without another one inside.

    The core keeps one such place, and goes back from it without executing `LE` again.
    """
    ends = {address + count: _target(code[-1]) for (address, count), code in decoded.items()
            if code[-1].class_ == LOOP_END}  # fmt: skip
    return frozenset(
        end for end, first in ends.items()
        if not any(first is not None and first <= other < end for other in ends)
    )  # fmt: skip
