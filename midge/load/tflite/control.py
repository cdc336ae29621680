"""Branches and loops whose way is known at import: the operators of their subgraphs take their place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from midge.load.tflite.liveness import check_results, live_operators
from midge.load.tflite.site import Importer, Site

_MOST_TURNS = 256
_MOST_OPERATORS = 4096
"""Of all subgraphs together, each counted as often as it is put in."""
_MOST_OPERANDS = 1 << 16
_DEEPEST = 8


def branch(site: Site) -> None:
    """IF with a condition that is known."""
    then, otherwise = site.options("IfOptions", "ThenSubgraphIndex", "ElseSubgraphIndex")
    number = then if _truth(site, site.required(0), "a branch that is chosen at run time") else otherwise
    _finish(site, put_in(site, number, site.operator.inputs[1:]))


def loop(site: Site) -> None:
    """WHILE with turns that can be counted: the body again and again."""
    condition, body = site.options("WhileOptions", "CondSubgraphIndex", "BodySubgraphIndex")
    values, reason = list(site.operator.inputs), "a loop whose turns are counted at run time"
    for _ in range(_MOST_TURNS):
        goes_on = put_in(site, condition, values)
        if len(goes_on) != 1:
            site.broken(f"a condition of {len(goes_on)} results", "one")
        if not _truth(site, goes_on[0], reason):
            _finish(site, values)
            return
        values = put_in(site, body, values)
    site.unsupported(f"a loop of {_MOST_TURNS} turns or more")


def _truth(site: Site, index: int, reason: str) -> bool:
    """Whether a known condition holds."""
    known = site.importer.constant(index)
    if known is None:
        site.unsupported(reason)
    if known.size != 1 or known.dtype != np.bool_:
        site.broken(f"a condition of type {known.dtype}, shape {list(known.shape)}", "one bool")
    return bool(known.reshape(-1)[0])


def put_in(site: Site, number: int, operands: Sequence[int]) -> list[int]:
    """Import the operators of a subgraph (the model itself is number 0); returns the tensors that its outputs are."""
    importer = site.importer
    subgraphs = importer.raw.subgraphs
    if not 1 <= number <= len(subgraphs):
        site.broken(f"subgraph {number}", f"1 to {len(subgraphs)}")
    subgraph = subgraphs[number - 1]
    if len(operands) != len(subgraph.inputs) or -1 in operands:
        site.broken(f"{len(operands)} operands", f"{len(subgraph.inputs)}, as subgraph {number} has")
    live = live_operators(subgraph)
    check_results(subgraph, live)
    inlined = importer.inlined
    if inlined.depth == _DEEPEST:
        site.unsupported(f"subgraphs in subgraphs, more than {_DEEPEST} deep")
    inlined.operands += sum(len(operator.inputs) + len(operator.outputs) for operator in live)
    if inlined.layers + len(live) - len(importer.raw.operators) > _MOST_OPERATORS or inlined.operands > _MOST_OPERANDS:
        site.unsupported(f"loops and branches of more than {_MOST_OPERATORS} operators")
    for inner, outer in zip(subgraph.inputs, operands, strict=True):
        if not importer.same_kind(subgraph.tensors[inner], outer):
            site.unsupported(f"a subgraph that reads {importer.raw.tensors[outer].name!r} as another type")
    places = _Places(importer, number, operands)
    inlined.depth += 1
    problems: list[str] = []
    for operator in live:
        inlined.layers += 1
        problems += importer.step(replace(
            operator, index=inlined.layers - 1, inputs=places.of(operator.inputs),
            outputs=places.of(operator.outputs), intermediates=places.of(operator.intermediates),
        ))  # fmt: skip
    inlined.depth -= 1
    if problems:
        site.unsupported(f"in subgraph {number}: {'; '.join(problems)}")
    return list(places.of(subgraph.outputs))


class _Places:
    """Where the tensors of a subgraph lie among the model's.

    Its inputs are the operands, constants are taken over once, all others each time.
    """

    def __init__(self, importer: Importer, number: int, operands: Sequence[int]) -> None:
        self._importer = importer
        self._number = number
        self._subgraph = importer.raw.subgraphs[number - 1]
        self._found = dict(zip(self._subgraph.inputs, operands, strict=True))

    def of(self, indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(index if index == -1 else self._place(index) for index in indices)

    def _place(self, index: int) -> int:
        if index in self._found:
            return self._found[index]
        tensor, constants = self._subgraph.tensors[index], self._importer.inlined.constants
        if tensor.data is not None and (self._number, index) in constants:
            return constants[self._number, index]
        made = self._found[index] = self._importer.add_tensor(tensor)
        if tensor.data is not None:
            constants[self._number, index] = made
        return made


def _finish(site: Site, values: Sequence[int]) -> None:
    """Let the operator's results be these tensors."""
    importer, results = site.importer, site.operator.outputs
    if len(values) != len(results):
        site.broken(f"{len(results)} results", f"{len(values)}, as the subgraph has")
    for result, value in zip(results, values, strict=True):
        known = importer.constant(value)
        if known is not None:
            importer.fold(result, known)
        elif importer.same_kind(importer.raw.tensors[result], value):
            importer.set_shape(result, importer.type(value).shape)
            importer.alias(result, value)
        else:
            site.unsupported(f"a subgraph that makes {importer.raw.tensors[result].name!r} as another type")


ROWS: dict[str, Callable[[Site], None]] = {
    "IF": branch,
    "WHILE": loop,
}
