"""The run function: the plan's actions as loops, or as a table of bytes where rows interleave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from midge.emit.constants import _LINE_CHARACTERS
from midge.kernels.render import render
from midge.plan.records import Action, Kind, Plan

_MOST_RUNS_PER_TASK = 3


@dataclass(frozen=True, slots=True)
class Statement:
    """`count` actions in a row that differ in their step only."""

    action: Action
    count: int


def run_body(plan: Plan, prefix: str, symbols: Sequence[str]) -> dict[str, object]:
    """What the template needs: straight statements, or a table with its cases."""
    statements = _statements(plan.schedule)
    if len(statements) <= _MOST_RUNS_PER_TASK * max(len(plan.tasks), 1):
        lines = [line for statement in statements for line in _lines(plan, prefix, symbols, statement)]
        return {"table": None, "lines": lines}
    codes: dict[tuple[Kind, int, int], int] = {}
    table = [codes.setdefault(_code_key(action), len(codes)) for action in plan.schedule]
    cases = []
    stepped: dict[int, int] = {}
    for (kind, target, index), code in codes.items():
        if kind is Kind.RUN and len(plan.tasks[target].binding.steps) > 1:
            counter = stepped.setdefault(target, len(stepped))
            line = f"{symbols[target]}(next[{counter}]++);"
        else:
            line = _call(plan, prefix, symbols, Action(kind, target, index), str(index))
        cases.append((code, line))
    return {
        "table": _table_lines(table),
        "element": "uint8_t" if len(codes) <= 256 else "uint16_t",
        "counter": "uint8_t" if max(len(t.binding.steps) for t in plan.tasks) <= 255 else "uint16_t",
        "length": len(table),
        "counters": len(stepped),
        "cases": cases,
    }


def _code_key(action: Action) -> tuple[Kind, int, int]:
    """Steps of one task share a code: they come in order, and a counter knows which is next."""
    return action.kind, action.target, 0 if action.kind is Kind.RUN else action.index


def _statements(schedule: Sequence[Action]) -> list[Statement]:
    groups = groupby(enumerate(schedule), key=lambda pair: (pair[1].kind, pair[1].target,
                                                            pair[1].index - pair[0] if pair[1].kind is Kind.RUN else pair[0]))  # fmt: skip
    statements = []
    for _, group in groups:
        actions = [action for _, action in group]
        statements.append(Statement(actions[0], len(actions)))
    return statements


def _lines(plan: Plan, prefix: str, symbols: Sequence[str], statement: Statement) -> list[str]:
    action = statement.action
    if statement.count == 1:
        return [_call(plan, prefix, symbols, action, f"{action.index}")]
    end = action.index + statement.count
    return [
        f"for (uint32_t step = {action.index}; step < {end}; ++step) {{",
        f"    {_call(plan, prefix, symbols, action, 'step')}",
        "}",
    ]


def _call(plan: Plan, prefix: str, symbols: Sequence[str], action: Action, step: str) -> str:
    if action.kind is Kind.RUN:
        return f"{symbols[action.target]}({step});"
    buffer = plan.buffers[action.target]
    if action.kind is Kind.CLEAR:
        return _fill(prefix, buffer.offset, buffer.fill, buffer.height * buffer.stride_bytes)
    slot = action.index % buffer.height
    return _fill(prefix, buffer.offset + slot * buffer.stride_bytes, buffer.fill, buffer.stride_bytes)


def _fill(prefix: str, offset: int, byte: int, count: int) -> str:
    return f"memset({prefix}_arena + {offset}, {byte}, {count});"


def _table_lines(table: Sequence[int]) -> list[str]:
    lines: list[str] = []
    line = ""
    for value in table:
        if len(line) + len(str(value)) + 2 > _LINE_CHARACTERS:
            lines.append(line.rstrip())
            line = ""
        line += f"{value}, "
    return [*lines, line.rstrip()]
