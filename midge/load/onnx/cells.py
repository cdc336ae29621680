"""Arithmetic of one step of a recurrent layer: LSTM, GRU and the plain cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from midge.load.onnx import activations, elementwise, weighted
from midge.load.onnx.file import RawNode
from midge.load.onnx.held import Held, Known
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.mul import Mul
from midge.ops.sub import Sub

Operand = Known | Held
_ROWS: dict[str, Callable[[Site], None]] = {
    "hardsigmoid": activations.hard_sigmoid, "relu": elementwise.relu, "sigmoid": elementwise.sigmoid,
    "softsign": activations.softsign, "tanh": elementwise.tanh,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Activations:
    """Which functions the gates have, in ONNX's order, by lower-case name, with their attributes."""

    named: tuple[tuple[str, dict[str, float]], ...]

    @staticmethod
    def of(site: Site, names: Sequence[str]) -> Activations:
        """Those of all directions; `activation_alpha` and `activation_beta` belong to the functions that have them."""
        alphas, betas = (list(site.attribute(f"activation_{name}", ())) for name in ("alpha", "beta"))
        found = []
        for name in (text.lower() for text in names):
            if name not in _ROWS:
                site.unsupported(f"the activation {name}")
            given = {}
            if name == "hardsigmoid":
                given = {key: float(values.pop(0)) for key, values in (("alpha", alphas), ("beta", betas)) if values}
            found.append((name, given))
        return Activations(tuple(found))

    def part(self, first: int, count: int) -> Activations:
        """Those of one direction."""
        return Activations(self.named[first : first + count])


class Cell:
    """Arithmetic on tensors of one layer, as the operators of a file would do it."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def run(self, row: Callable[[Site], None], *operands: Operand, **attributes: Any) -> Operand:
        """What `row` makes of operands that no file names."""
        importer, node = self.site.importer, self.site.node
        names = tuple(f"{node.outputs[0] or node.index} operand {k}" for k in range(len(operands)))
        importer.tensors.update(zip(names, operands, strict=True))
        result = f"{node.name or 'layer'} {node.index} step"
        row(Site(importer, RawNode(node.index, node.name, node.op, names, (result,), attributes, None)))
        return importer.tensors[result]

    def add(self, a: Operand, b: Operand) -> Operand:
        if is_zero(b) and b.shape == a.shape:
            return a
        return self.run(lambda site: elementwise.combine(site, Add, a, b), a, b)

    def mul(self, a: Operand, b: Operand) -> Operand:
        return self.run(lambda site: elementwise.combine(site, Mul, a, b), a, b)

    def sub(self, a: Operand, b: Operand) -> Operand:
        return self.run(lambda site: elementwise.combine(site, Sub, a, b), a, b)

    def connect(self, x: Operand, weights: np.ndarray, bias: np.ndarray | None) -> Operand:
        """[rows, inputs] through weights [outputs, inputs]."""
        more = () if bias is None else (Known(bias),)
        return self.run(weighted.gemm, x, Known(weights), *more, transB=1)

    def activate(self, functions: Activations, position: int, x: Operand) -> Operand:
        """Function number `position` of the layer's activations."""
        name, attributes = functions.named[position]
        return self.run(_ROWS[name], x, **attributes)


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a layer: weights of the state [gates U, U], what is left of its bias, and its forms."""

    recurrent: np.ndarray
    bias: np.ndarray
    units: int
    functions: Activations
    peepholes: np.ndarray | None = None
    """[3, U] for the gates i, o and f of an LSTM."""
    is_coupled: bool = False
    """f = 1 - i."""


Step = Callable[[Cell, Way, Operand, list[Operand]], list[Operand]]
"""What the input's sums [batch, gates U] and the states before make: the states after."""


def is_zero(operand: Operand) -> bool:
    return isinstance(operand, Known) and not np.any(operand.array)


def recur(cell: Cell, h: Operand, r: np.ndarray, b: np.ndarray) -> Operand:
    """What the state adds; from a constant state, a constant."""
    if isinstance(h, Known):
        return Known((h.array @ r.T + b).astype(np.float32))
    return cell.connect(h, r, b if np.any(b) else None)


def cut(operand: Operand, first: int, last: int) -> Operand:
    """Sums of some gates."""
    if isinstance(operand, Known):
        return Known(operand.array[:, first:last])
    return operand.rearranged(operand.order[:, first:last])


def lstm_step(cell: Cell, way: Way, now: Operand, state: list[Operand]) -> list[Operand]:
    """Gates i, o, f, c: C = f C + i g(c), H = o h(C)."""
    h, c = state
    sums, units = cell.add(now, recur(cell, h, way.recurrent, way.bias)), way.units
    parts = [cut(sums, k * units, (k + 1) * units) for k in range(4)]
    if way.peepholes is not None:
        for gate, row in ((0, 0), (2, 2)):
            parts[gate] = _seen(cell, parts[gate], c, way.peepholes[row])
    i = cell.activate(way.functions, 0, parts[0])
    fresh = cell.mul(i, cell.activate(way.functions, 1, parts[3]))
    one = Known(np.ones((1, 1), np.float32))
    f = cell.sub(one, i) if way.is_coupled else cell.activate(way.functions, 0, parts[2])
    c = fresh if is_zero(c) else cell.add(cell.mul(f, c), fresh)
    if way.peepholes is not None:
        parts[1] = _seen(cell, parts[1], c, way.peepholes[1])
    o = cell.activate(way.functions, 0, parts[1])
    return [cell.mul(o, cell.activate(way.functions, 2, c)), c]


def _seen(cell: Cell, sums: Operand, c: Operand, weights: np.ndarray) -> Operand:
    """What a gate sees of the cells, added to its sums."""
    return sums if is_zero(c) else cell.add(sums, cell.mul(c, Known(weights.reshape(1, -1))))


def gru_step(cell: Cell, way: Way, now: Operand, state: list[Operand], *, is_linear_first: bool) -> list[Operand]:
    """Gates z, r, h: h = tanh(x + r (R H + b)), or tanh(x + R (r H) + b); then H = (1 - z) h + z H."""
    h, r, b, units = state[0], way.recurrent, way.bias, way.units
    if is_linear_first:
        recurrent = recur(cell, h, r, b)
        gates = cell.add(cut(now, 0, 2 * units), cut(recurrent, 0, 2 * units))
    else:
        gates = cell.add(cut(now, 0, 2 * units), recur(cell, h, r[: 2 * units], b[: 2 * units]))
    z, reset = (cell.activate(way.functions, 0, cut(gates, k * units, (k + 1) * units)) for k in range(2))
    if is_linear_first:
        own = cell.mul(reset, cut(recurrent, 2 * units, 3 * units))
    else:
        own = recur(cell, h if is_zero(h) else cell.mul(reset, h), r[2 * units :], b[2 * units :])
    fresh = cell.activate(way.functions, 1, cell.add(cut(now, 2 * units, 3 * units), own))
    return [cell.add(fresh, cell.mul(z, cell.sub(h, fresh)))]


def plain_step(cell: Cell, way: Way, now: Operand, state: list[Operand]) -> list[Operand]:
    """H = f(x + R H + b)."""
    return [cell.activate(way.functions, 0, cell.add(now, recur(cell, state[0], way.recurrent, way.bias)))]
