"""The run function: the plan's actions as loops, or as a table of bytes where rows interleave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midge.emit.constants import wrapped
from midge.emit.repetitions import folded
from midge.kernels.view import PUSHED_ROW
from midge.plan.records import Action, Kind, Plan, Task

_MOST_RUNS_PER_TASK = 3
_LOOP_BYTES = 64
"""A table with repetitions is worth its code if it is so much shorter, where flash comes before latency."""
_LONG = 1024
"""The same where latency comes first: each action takes some cycles more."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`count` actions in a row that differ in their step only."""

    action: Action
    count: int


def run_body(plan: Plan, prefix: str, symbols: Sequence[str]) -> dict[str, object]:
    """What the template needs: straight statements, or a table with its cases."""
    statements = _statements(plan.schedule)
    fills = {
        "fills": any(action.kind is not Kind.RUN for action in plan.schedule),
        "plane_fills": any(a.kind is Kind.PAD and plan.buffers[a.target].planes > 1 for a in plan.schedule),
    }
    if not plan.input_rows and len(statements) <= _MOST_RUNS_PER_TASK * max(len(plan.tasks), 1):
        lines = [line for statement in statements for line in _lines(plan, prefix, symbols, statement)]
        return {"table": None, "lines": lines, **fills}
    codes: dict[tuple[Kind, int, int], int] = {}
    for action in plan.schedule:
        codes.setdefault(_code_key(action), len(codes))
    is_compact = plan.options.shares_code
    if is_compact:
        runs = sorted(codes, key=lambda key: key[0] is not Kind.RUN)  # stable: layers first, then what fills
        codes = {key: code for code, key in enumerate(runs)}
    mark = len(codes)
    straight = [codes[_code_key(action)] for action in plan.schedule]
    table = folded(straight, mark)
    repeats = len(straight) - len(table) >= (_LOOP_BYTES if is_compact else _LONG)
    if not repeats:
        table = straight
    layers = sum(kind is Kind.RUN for kind, _, _ in codes)
    cases = []
    fill_rows = []
    stepped: dict[int, int] = {}
    for (kind, target, index), code in codes.items():
        row = f", {PUSHED_ROW}" if kind is Kind.RUN and takes_row(plan, plan.tasks[target]) else ""
        if is_compact and kind is Kind.RUN:
            line = f"{symbols[target]}(step{row});"
        elif is_compact:
            fill_rows.append(_fill_row(plan, Action(kind, target, index)))
            continue
        elif kind is Kind.RUN and len(plan.tasks[target].binding.steps) > 1:
            counter = stepped.setdefault(target, len(stepped))
            steps = f"{prefix}_state.next" if plan.input_rows else "next"
            line = f"{symbols[target]}({steps}[{counter}]++{row});"
        else:
            line = _call(plan, prefix, symbols, Action(kind, target, index), str(index))
        cases.append((code, line))
    return {
        **fills,
        "plane_fills": fills["plane_fills"] and not is_compact,
        "table": wrapped(map(str, table)),
        "element": _unsigned([max(table)]),
        "mark": mark if repeats else None,
        "counter": _unsigned([len(task.binding.steps) for task in plan.tasks]),
        "length": len(table),
        "position": _unsigned([len(table)]),
        "counters": layers if is_compact else len(stepped),
        "layers": layers,
        "is_compact": is_compact,
        **_fill_table(fill_rows),
        "reads_row": next(
            (
                code
                for (kind, target, _), code in codes.items()
                if kind is Kind.RUN and takes_row(plan, plan.tasks[target])
            ),
            None,
        ),
        "cases": cases,
    }


def _fill_row(plan: Plan, action: Action) -> tuple[int, int, int, int, int]:
    """What fills with padding: where, how many bytes of each plane, from plane to plane, how many, and the byte."""
    buffer = plan.buffers[action.target]
    if action.kind is Kind.CLEAR:
        return buffer.offset, buffer.planes * buffer.plane_bytes, 0, 1, buffer.fill
    row = buffer.offset + action.index % buffer.height * buffer.stride_bytes
    stride = buffer.plane_bytes if buffer.planes > 1 else 0
    return row, buffer.stride_bytes, stride, buffer.planes, buffer.fill


def _fill_table(rows: Sequence[tuple[int, ...]]) -> dict[str, object]:
    """Columns of `_fill_row` as members of a structure; those with one value in all rows are constants."""
    columns = dict(zip(("at", "count", "stride", "planes", "byte"), zip(*rows, strict=True), strict=False))
    members = {name: column for name, column in columns.items() if name == "at" or len(set(column)) > 1}
    return {
        "fill_count": len(rows),
        "fill_members": {name: _unsigned(column) for name, column in members.items()},
        "fill_constants": {name: column[0] for name, column in columns.items() if name not in members},
        "fill_rows": wrapped("{" + ", ".join(map(str, row)) + "}" for row in zip(*members.values(), strict=True)),
    }


def _unsigned(values: Sequence[int]) -> str:
    """The smallest unsigned type of C that holds all values."""
    return next(f"uint{bits}_t" for bits in (8, 16, 32) if max(values) < 1 << bits)


def takes_row(plan: Plan, task: Task) -> bool:
    """True for the layer that reads the rows that the caller pushes."""
    return any(index is not None and plan.buffers[index].role == "caller" for index in task.inputs)


def _code_key(action: Action) -> tuple[Kind, int, int]:
    """Steps of one task share a code: they come in order, and a counter knows which is next."""
    return action.kind, action.target, 0 if action.kind is Kind.RUN else action.index


def _statements(schedule: Sequence[Action]) -> list[Statement]:
    """Steps of one task that follow each other are one statement, a loop."""
    statements: list[Statement] = []
    for action in schedule:
        last = statements[-1] if statements else None
        follows = last is not None and Action(last.action.kind, last.action.target, last.action.index + last.count)
        if last is not None and action.kind is Kind.RUN and action == follows:
            statements[-1] = Statement(last.action, last.count + 1)
        else:
            statements.append(Statement(action, 1))
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
        return _fill(prefix, str(buffer.offset), buffer.fill, buffer.planes * buffer.plane_bytes)
    row = buffer.offset + action.index % buffer.height * buffer.stride_bytes
    if buffer.planes == 1:
        return _fill(prefix, str(row), buffer.fill, buffer.stride_bytes)
    arguments = f"{buffer.fill}, {buffer.stride_bytes}, {buffer.planes}, {buffer.plane_bytes}"
    return f"midge_fill_planes({prefix}_arena + {row}, {arguments});"


def _fill(prefix: str, offset: str, byte: int, count: int) -> str:
    return f"midge_fill({prefix}_arena + {offset}, {byte}, {count});"
