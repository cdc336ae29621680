"""Cycles of a block on a core's pipeline, by its `[timing]` table.

One instruction at a time here, two at once in dual_issue.py, latencies and overlapped vectors in overlapped.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from midge.emulate.timing import dual_issue, overlapped
from midge.emulate.timing.instruction import Instruction
from midge.emulate.timing.kinds import Kind, kinds_of
from midge.emulate.timing.operands import operands
from midge.errors import InternalError, UnsupportedError

MODEL = "in-order"
MODELS = (MODEL, dual_issue.MODEL, overlapped.MODEL)
_NOT_KINDS = ("model", "basis", "memory", "error", "light")
# Loads and stores of one register, whose address phase can overlap the data phase of the load before.
_PAIRED = {"load": "load_after_load", "store": "store_after_load"}
_MULTIPLE = ("load_multiple", "store_multiple", "float_load_multiple", "float_store_multiple")
_BRANCHES = ("branch", "jump", "branch_link", "branch_register", "branch_link_register", "table_branch", "loop_end",
             "loop_skip")  # fmt: skip
_TRANSFERS = ("float_load", "float_store", "float_move")


def is_control(instruction: Instruction) -> bool:
    """True where an instruction can make a block end by going elsewhere."""
    return instruction.class_ in _BRANCHES or instruction.writes_pc


@dataclass(frozen=True, slots=True)
class Block:
    """A block and the code that ran before it, when it was entered in line and when by a branch (as far as known)."""

    code: tuple[Instruction, ...]
    in_line: tuple[Instruction, ...] = ()
    after_branch: tuple[Instruction, ...] = ()
    crosses_word: bool = False
    """It begins in the middle of a word."""
    repeats_freely: bool = False
    """It ends with the end of a low-overhead loop that the core remembers after its first round."""
    entered_freely: bool = False
    """What branches to it most often is such a one."""


class Pipeline:
    """Costs blocks by a timing table. UnsupportedError where the core has none."""

    def __init__(self, core: str, table: Mapping[str, int | float | str]) -> None:
        if not table.get("model"):
            raise UnsupportedError(
                f"core {core}", "no timing table, so no cycles", "a core with one (docs/timing.md)",
                "`midge verify` needs none",
            )  # fmt: skip
        if table["model"] not in MODELS:
            expected = " or ".join(f"`{name}`" for name in MODELS)
            raise InternalError(f"core {core}, timing", f"model `{table['model']}`", expected)
        self._core, self._table = core, table
        self.kinds = None if table["model"] == MODEL else self._kinds()
        self._is_overlapped = table["model"] == overlapped.MODEL
        self.light = overlapped.parse_light(f"core {core}, timing, `light`", str(table.get("light", "")))

    def number(self, name: str) -> float:
        """An entry of the table."""
        value = self._table.get(name)
        if not isinstance(value, int | float):
            raise InternalError(f"core {self._core}, timing", f"`{name}` is {value!r}", "a number")
        return value

    def has(self, name: str) -> bool:
        return name in self._table

    def cycles(self, block: Block, counts: np.ndarray) -> float:
        """All runs of one block. `counts[entered by a branch][left by a branch]`."""
        entered, left = counts.sum(axis=1), counts.sum(axis=0)
        last = block.code[-1]
        if self.kinds is not None and self._is_overlapped:
            return self._overlapped(self.kinds, block, entered, left)
        if self.kinds is not None:
            in_line = dual_issue.issue_cycles(self.kinds, block.in_line, block.code, after_branch=False)
            after = dual_issue.issue_cycles(self.kinds, block.after_branch, block.code, after_branch=True)
            return int(entered[0]) * in_line + int(entered[1]) * after + self._mispredicted(last, left)
        in_line = self.body(block.code, block.in_line[-1] if block.in_line else None)
        after_branch = self.body(block.code, None)
        if block.crosses_word and block.code[0].bytes == 4 and self.has("unaligned_target"):
            after_branch += self.number("unaligned_target")
        exits = int(left[0]) * self.exit(last, False) + int(left[1]) * self.exit(last, True)
        return int(entered[0]) * in_line + int(entered[1]) * after_branch + exits

    def body(self, block: Sequence[Instruction], before: Instruction | None) -> float:
        """Cycles of a block without the branch at its end; `before` ran just before it, in line."""
        total = 0.0
        controls = is_control(block[-1])
        for index, instruction in enumerate(block):
            total += self._stall(instruction, before)
            if not controls or index < len(block) - 1:
                total += self._cycles(instruction, before)
            before = instruction
        return total

    def _stall(self, now: Instruction, before: Instruction | None) -> float:
        """What an instruction waits for a result of the one before it."""
        if before is None or not now.reads:
            return 0.0
        if before.loads & now.reads and self.has("load_use"):
            return self.number("load_use")
        is_jump = now.class_ in ("branch_register", "branch_link_register")
        return self.number("jump_use") if is_jump and before.results & now.reads and self.has("jump_use") else 0.0

    def exit(self, last: Instruction, taken: bool) -> float:
        """Cycles of the branch at a block's end; a conditional one that is not taken costs as if skipped."""
        if not is_control(last):
            return 0.0
        if last.class_ == "branch":
            return self.number("branch_taken" if taken else "branch_not_taken")
        return self._cycles(last, None) if taken else self.number("branch_not_taken")

    def _kinds(self) -> Mapping[str, Kind]:
        texts = ((name, text) for name, text in self._table.items() if isinstance(text, str) and name not in _NOT_KINDS)
        return kinds_of(self._core, tuple(sorted(texts)))

    def _overlapped(self, kinds: Mapping[str, Kind], block: Block, entered: np.ndarray, left: np.ndarray) -> float:
        refill = int(self.number("refill"))
        after = overlapped.issue_cycles(
            kinds, self.light, block.after_branch, block.code, 0 if block.entered_freely else refill
        )
        in_line = overlapped.issue_cycles(kinds, self.light, block.in_line, block.code, None)
        total = int(entered[0]) * in_line + int(entered[1]) * after
        last = block.code[-1]
        if not is_control(last):
            return total
        if last.class_ == overlapped.LOOP_END:
            # Each run of a loop meets its end once, or in each round where another loop made the core forget it.
            return total + (1 + refill) * int(left[0] if block.repeats_freely else left.sum())
        is_direct = last.class_ in ("branch", "branch_link", "loop_skip")
        lost = refill if is_direct else int(self.number("refill_indirect"))
        return total + int(left[1]) * overlapped.branch_cycles(kinds, self.light, block.code, lost)

    def _mispredicted(self, last: Instruction, left: np.ndarray) -> float:
        """A direct branch is guessed wrong when it does what it does less often; an indirect one always."""
        if not is_control(last) or last.class_ == "branch_link":
            return 0.0
        wrong = min(int(left[0]), int(left[1])) if last.class_ == "branch" else int(left[1])
        return wrong * self.number("mispredict")

    def _cycles(self, now: Instruction, before: Instruction | None) -> float:
        class_ = now.class_
        if class_ in _PAIRED:
            cycles = self._single_transfer(now, before)
        elif class_ in _MULTIPLE:
            cycles = self.number(class_) + now.words * self.number("per_register")
        elif class_ in _TRANSFERS and now.double:
            cycles = self.number(f"{class_}_double")
        elif now.writes_pc:  # a move or an addition
            cycles = self.number("branch_register")
        else:
            cycles = self.number(class_)
        if now.writes_pc and class_ == "load_multiple":
            return cycles + self.number("pop_pc")
        if now.writes_pc and class_ == "load":
            return cycles + self.number("load_pc")
        return cycles

    def _single_transfer(self, now: Instruction, before: Instruction | None) -> float:
        follows = before is not None and before.class_ == "load" and not (before.loads & now.address)
        if follows and before is not None and self.has("advanced_base") and operands(before).base in now.address:
            return self.number(now.class_) - 1 + self.number("advanced_base")
        if follows:
            return self.number(_PAIRED[now.class_])
        if now.class_ == "store" and now.register_offset:
            return self.number("store_register_offset")
        return self.number(now.class_)
