"""Emission: a Plan becomes a header and C (and assembly) text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from midge.emit.constants import ConstantPool
from midge.emit.header import Facts, header_text
from midge.emit.names import c_identifier
from midge.emit.schedule import run_body, takes_row
from midge.emit.sources import Layer, Port, Sources
from midge.emit.states import state_lines
from midge.errors import InternalError
from midge.kernels.assembly import is_dual_issue
from midge.kernels.base import Function, LayerCode
from midge.kernels.dual_issue import alternated
from midge.kernels.render import render
from midge.kernels.view import Rows, TaskView
from midge.plan.copies import root_value
from midge.plan.records import Buffer, Plan, Task
from midge.plan.views import Place

__all__ = ["Layer", "Port", "Sources", "c_identifier", "emit", "layer_code"]


_LOOP_BYTES = {"latency": 440, "ram": 440, "flash": 110}
"""How much code a loop of assembly may be unrolled to where layers share functions, by what comes first."""
_ANY_LOOP_BYTES = 1 << 30


def emit(plan: Plan, *, prefix: str, command: str, model_sha256: str) -> Sources:
    """The network as C99. `prefix` starts every external name; it must be a C identifier.

    The text depends on the arguments and Midge's version only: the same call gives the same bytes.
    """
    if c_identifier(prefix) != prefix:
        raise InternalError("emit", f"prefix {prefix!r}", "a C identifier")
    pool = ConstantPool(prefix)
    symbols = [f"{prefix}_l{index:02d}_{task.node.op.name}" for index, task in enumerate(plan.tasks)]
    codes = [layer_code(plan, task, pool, index, prefix) for index, task in enumerate(plan.tasks)]
    states = state_lines(plan, prefix, pool)
    functions = _shared_functions(codes)
    assembly = [function for function in functions if function.prototype is not None]
    facts = Facts(prefix, command, model_sha256, plan, pool.total_bytes)
    layers = tuple(
        Layer(task.node.name, task.node.op.name, symbol, plan.graph.macs(task.node))
        for task, symbol in zip(plan.tasks, symbols, strict=True)
    )
    run = run_body(plan, prefix, symbols)
    texts = [
        *(function.text for function in functions),
        *(code.body for code in codes),
        "midge_u32" if run["fills"] else "",
    ]
    text = render(
        "network.c.j2",
        facts=facts,
        prefix=prefix,
        wide_types=_wide_types(texts),
        functions=[function for function in functions if function.prototype is None],
        assembly=assembly,
        constants=pool.declarations(),
        layers=[
            {
                "symbol": symbol,
                "task": task,
                "body": code.body.rstrip("\n"),
                "uses_step": uses_step(code.body),
                "takes_row": takes_row(plan, task),
            }
            for symbol, task, code in zip(symbols, plan.tasks, codes, strict=True)
        ],
        run=run,
        row_type=plan.graph.type(plan.graph.inputs[0]).dtype.c_name if plan.input_rows else "",
        states=states,
    )
    files = {f"{prefix}.c": text, f"{prefix}.h": header_text(facts)}
    if assembly:
        files[f"{prefix}.S"] = render("network.S.j2", facts=facts, prefix=prefix, functions=assembly)
    return Sources(
        prefix=prefix,
        files=files,
        inputs=_ports(plan, plan.graph.inputs, "" if plan.input_rows else f"{prefix}_input"),
        outputs=_ports(plan, plan.graph.outputs, f"{prefix}_output"),
        layers=layers,
        run_symbol=f"{prefix}_push_row" if plan.input_rows else f"{prefix}_run",
        init_symbol=f"{prefix}_reset" if plan.graph.states else None,
        arena_bytes=plan.arena_bytes,
        weight_bytes=pool.total_bytes,
        input_rows=plan.input_rows,
    )


def uses_step(body: str) -> bool:
    """True where a layer's body depends on its step."""
    return re.search(r"\bstep\b", body) is not None


def _ports(plan: Plan, names: tuple[str, ...], accessor: str) -> tuple[Port, ...]:
    """Inputs and outputs; without an accessor, those that are pushed by rows."""
    return tuple(
        Port(name, plan.graph.type(name), f"{accessor}_{index}" if accessor else "") for index, name in enumerate(names)
    )


def layer_code(plan: Plan, task: Task, pool: ConstantPool, index: int, prefix: str) -> LayerCode:
    """What a task's kernel emits; its constants go to the pool."""
    roles: set[str] = set()

    def constant(role: str) -> str:
        roles.add(role)
        return pool.reference(index, role)

    arena = f"{prefix}_arena"
    view = TaskView(
        prefix=prefix,
        core=plan.board.core,
        node=task.node,
        graph=plan.graph,
        inputs=tuple(
            None if buffer is None or name is None else rows_view(plan, buffer, name, arena, read=True)
            for buffer, name in zip(task.inputs, task.node.inputs, strict=True)
        ),
        outputs=tuple(
            rows_view(plan, buffer, name, arena, read=False)
            for buffer, name in zip(task.outputs, task.node.outputs, strict=True)
        ),
        scratch="" if task.scratch is None else f"{arena} + {plan.buffers[task.scratch].offset}u",
        steps=len(task.binding.steps),
        constant=constant,
        most_loop_bytes=_LOOP_BYTES[plan.options.optimize] if plan.options.shares_code else _ANY_LOOP_BYTES,
        peers=tuple((t.node, t.binding.kernel) for t in plan.tasks) if plan.options.shares_code else (),
    )
    code = task.binding.kernel.emit(view)
    missing = roles - {found.role for found in code.constants}
    if missing:
        raise InternalError(task.binding.kernel.name, f"no constants {sorted(missing)}")
    names = {found.role: pool.add(index, task.node.op.name, found) for found in code.constants}
    body = code.body
    for role in sorted(names):
        body = body.replace(pool.reference(index, role), names[role])
    functions = tuple(map(alternated, code.functions)) if is_dual_issue(plan.board.core) else code.functions
    return LayerCode(functions, code.constants, body)


def rows_view(plan: Plan, index: int, name: str, arena: str, *, read: bool) -> Rows:
    """One operand or result of a task: the rows of its buffer, a part of these, or another view of the same bytes."""
    buffer: Buffer = plan.buffers[index]
    type_, root = plan.graph.type(name), root_value(plan.graph, name)
    place, size = plan.places.get(root, Place()), buffer.layout.dtype.bytes
    row_bytes = type_.row_elements * type_.dtype.bytes
    source = plan.graph.type(root)
    is_other_view = buffer.layout.is_natural and (type_.rows, type_.row_elements) != (source.rows, source.row_elements)
    is_by_itself = is_other_view or place.element is not None
    inside = place.channel * buffer.plane_bytes + place.column * size
    if not buffer.layout.planes:
        inside = place.column * buffer.pixel_bytes + place.channel * size
    is_as_buffer = place.is_pitched or buffer.layout.planes
    return Rows(
        arena=arena,
        type=type_,
        dtype=buffer.layout.dtype,
        offset=plan.offset_of(name, index) if is_by_itself else buffer.offset,
        stride_bytes=row_bytes if is_by_itself else buffer.stride_bytes,
        height=type_.rows if is_by_itself else buffer.height,
        padded_rows=type_.rows if is_by_itself else buffer.padded_rows,
        top=0 if is_by_itself else buffer.top + place.row,
        left_bytes=0 if is_by_itself else buffer.left * buffer.pixel_bytes + inside,
        pixel_bytes=buffer.pixel_bytes if is_as_buffer else type_.channels * size,
        plane_bytes=buffer.plane_bytes,
        is_constant_pointer=read,
        is_pushed=buffer.role == "caller",
    )


def _shared_functions(codes: list[LayerCode]) -> list[Function]:
    """Each function once, callees first."""
    seen: dict[str, Function] = {}
    for code in codes:
        for function in code.functions:
            known = seen.setdefault(function.name, function)
            if known.text != function.text:
                raise InternalError("emit", f"two functions are named {function.name}")
    return list(seen.values())


_WIDE_TYPES = {
    "midge_f32": "float", "midge_s16": "int16_t", "midge_s32": "int32_t", "midge_s64": "int64_t",
    "midge_u32": "uint32_t",
}  # fmt: skip
"""Element types wider than a byte that the arena, whose values lie at multiples of 4, is accessed by."""


def _wide_types(texts: Iterable[str]) -> list[tuple[str, str]]:
    """(alias, C type) of those that the code uses."""
    used = {name for text in texts for name in re.findall(r"\bmidge_[a-z]\d\d\b", text)}
    return [(name, c_type) for name, c_type in _WIDE_TYPES.items() if name in used]
