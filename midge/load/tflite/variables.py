"""Variables: values that an inference leaves for the next one. They become states of the graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midge.load.tflite.file import RawModel, RawOperator

if TYPE_CHECKING:
    from midge.load.tflite.site import Importer, Site

EFFECTS = ("ASSIGN_VARIABLE", "CALL_ONCE")
"""Operators that count without having a result."""

Key = tuple[str, str]
"""Container and name of a variable."""


@dataclass(slots=True)
class Variables:
    """What is known of the variables so far; tensors are named by their index."""

    handles: dict[int, Key] = field(default_factory=dict)
    initial: dict[Key, np.ndarray] = field(default_factory=dict)
    first_read: dict[Key, int] = field(default_factory=dict)
    """The tensor that was read before any assignment."""
    assigned: dict[Key, int] = field(default_factory=dict)
    """The tensor that was assigned last."""


def call_once(site: Site) -> None:
    """CALL_ONCE of a subgraph that assigns constants to variables."""
    (number,) = site.options("CallOnceOptions", "InitSubgraphIndex")
    subgraphs = site.importer.raw.subgraphs
    if not 1 <= number <= len(subgraphs):
        site.broken(f"the initialisation in subgraph {number}", f"1 to {len(subgraphs)}")
    subgraph = subgraphs[number - 1]
    handles: dict[int, Key] = {}
    for operator in subgraph.operators:
        if operator.code == "VAR_HANDLE" and operator.outputs:
            handles[operator.outputs[0]] = _key(site.where, operator)
        elif operator.code == "ASSIGN_VARIABLE" and len(operator.inputs) == 2 and operator.inputs[0] in handles:
            key = handles[operator.inputs[0]]
            site.importer.variables.initial[key] = _constant_of(site, subgraph, operator.inputs[1])
        else:
            site.unsupported(f"an initialisation by {operator.code}")


def _constant_of(site: Site, subgraph: RawModel, index: int) -> np.ndarray:
    data = None if index == -1 else subgraph.constant(index)
    if data is None:
        site.unsupported("an initialisation that computes its values")
    return data


def _key(where: str, operator: RawOperator) -> Key:
    found = operator.options(where, "VarHandleOptions", "Container", "SharedName") or (None, None)
    container, name = ((text or b"").decode("utf-8", "replace") for text in found)
    return container, name


def var_handle(site: Site) -> None:
    """VAR_HANDLE: which variable a tensor stands for."""
    site.importer.variables.handles[site.result()] = _key(site.where, site.operator)


def _variable(site: Site) -> Key:
    index = site.required(0)
    handles = site.importer.variables.handles
    if index not in handles:
        site.broken("an operand that is no variable", "the result of VAR_HANDLE")
    return handles[index]


def read_variable(site: Site) -> None:
    """READ_VARIABLE: what was assigned in this inference, else what a state holds."""
    key, known, importer = _variable(site), site.importer.variables, site.importer
    if key in known.assigned:
        importer.alias(site.result(), known.assigned[key])
    elif key in known.first_read:
        importer.alias(site.result(), known.first_read[key])
    elif key not in known.initial:
        site.unsupported(f"the variable {key[1]!r} that nothing initialises")
    else:
        known.first_read[key] = site.result()
        importer.add_held(site.result())


def assign_variable(site: Site) -> None:
    """ASSIGN_VARIABLE of a value that depends on something."""
    key, index = _variable(site), site.required(1)
    if site.constant(1) is not None:
        site.unsupported("a constant that is assigned to a variable")
    site.importer.variables.assigned[key] = index


def add_states(importer: Importer) -> None:
    """Make a state of every variable that is read before it is assigned."""
    known, builder = importer.variables, importer.builder
    for key, before in known.first_read.items():
        after = known.assigned.get(key, before)
        if not importer.is_spoiled(before) and not importer.is_spoiled(after):
            builder.state(importer.value(before), importer.value(after), known.initial[key])


ROWS = {
    "ASSIGN_VARIABLE": assign_variable, "CALL_ONCE": call_once, "READ_VARIABLE": read_variable,
    "VAR_HANDLE": var_handle,
}  # fmt: skip
