"""What lives from one inference to the next, in C: how it is reset, and how a run hands it on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from midge.emit.constants import ConstantPool
from midge.kernels.base import Constant
from midge.plan.records import Plan


@dataclass(frozen=True, slots=True)
class StateLines:
    """Statements of the reset function, and those that end the run function."""

    reset: tuple[str, ...]
    hand_on: tuple[str, ...]


def state_lines(plan: Plan, prefix: str, pool: ConstantPool) -> StateLines:
    """Adds initial values that are not one byte throughout to the pool."""
    reset, hand_on = [], []
    for index, (state, (before, after)) in enumerate(zip(plan.graph.states, plan.state_buffers, strict=True)):
        to = f"{prefix}_arena + {plan.offset_of(state.before, before)}"
        source = f"{prefix}_arena + {plan.offset_of(state.after, after)}"
        count = plan.graph.type(state.before).bytes
        initial = np.frombuffer(state.initial.tobytes(), np.uint8)
        if (initial == initial[0]).all():
            reset.append(f"memset({to}, {initial[0]}, {count});")
        else:
            name = pool.add(index, "state", Constant("initial", state.initial))
            reset.append(f"memcpy({to}, {name}, {count});")
        move = "memmove" if before == after else "memcpy"  # in one buffer the two may overlap
        hand_on.append(f"{move}({to}, {source}, {count});")
    return StateLines(tuple(reset), tuple(hand_on))
