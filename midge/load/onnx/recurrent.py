"""LSTM and GRU, unrolled: every step is arithmetic of its own, the weights are shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.onnx import elementwise, movement, weighted
from midge.load.onnx.file import RawNode
from midge.load.onnx.held import Held, Known
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.mul import Mul
from midge.ops.sub import Sub

_MOST_STEPS = 512
Operand = Known | Held


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
        if _is_zero(b) and b.shape == a.shape:
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

    def gate(self, x: Operand, position: int, units: int) -> Operand:
        assert isinstance(x, Held)
        return x.rearranged(x.order[:, position * units : (position + 1) * units])

    def sigmoid(self, x: Operand) -> Operand:
        return self.run(elementwise.sigmoid, x)

    def tanh(self, x: Operand) -> Operand:
        return self.run(elementwise.tanh, x)


def lstm(site: Site) -> None:
    """LSTM with its standard activations."""
    _require(site, ["Sigmoid", "Tanh", "Tanh"])
    if site.has(7) or site.attribute("input_forget", 0):
        site.unsupported("peepholes, or coupled gates")
    _unroll(site, 4, _lstm_step, 2)


def gru(site: Site) -> None:
    """GRU; the reset gate before or after the state's weights."""
    _require(site, ["Sigmoid", "Tanh"])
    _unroll(site, 3, _gru_after if site.attribute("linear_before_reset", 0) else _gru_before, 1)


def _require(site: Site, activations: list[str]) -> None:
    named = [text.decode() if isinstance(text, bytes) else text for text in site.attribute("activations", [])]
    if named and named != activations * (len(named) // len(activations)):
        site.unsupported(f"the activations {', '.join(named)}")
    if site.has(4) or site.attribute("clip") is not None or site.attribute("layout", 0):
        site.unsupported("sequence lengths, clipping, or the batch first")


Step = Callable[[Cell, Operand, list[Operand], np.ndarray, np.ndarray, int], list[Operand]]


def _unroll(site: Site, gates: int, step: Step, states: int) -> None:
    """X [T, 1, inputs] with W [D, gates U, inputs], R [D, gates U, U], B [D, 2 gates U] makes Y [T, D, 1, U]."""
    x, w, r = site.held(0), site.known(1, "weights"), site.known(2, "weights of the state")
    b = site.known(3, "a bias") if site.has(3) else np.zeros((w.shape[0], 2 * w.shape[1]), np.float32)
    directions, units = w.shape[0], r.shape[-1]
    if len(x.shape) != 3 or x.shape[1] != 1:
        site.unsupported(f"a batch of {x.shape[1]}" if len(x.shape) == 3 else f"shape {list(x.shape)}")
    if w.shape != (directions, gates * units, x.shape[2]) or r.shape != (directions, gates * units, units):
        site.broken(f"weights of shape {list(w.shape)} and {list(r.shape)}", f"{gates} gates of {units} units")
    if x.shape[0] > _MOST_STEPS:
        site.unsupported(f"{x.shape[0]} steps in time, more than the {_MOST_STEPS} that are unrolled")
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    cell, flat = Cell(site), x.rearranged(x.order.reshape(x.shape[0], x.shape[2]))
    found, lasts = [], []
    for d, is_backwards in enumerate(backwards[site.attribute("direction", "forward")]):
        state: list[Operand] = [_initial(site, 5 + k, d, units) for k in range(states)]
        rows: list[Operand] = []
        given, own = _biases(b[d], 2 * units if step is _gru_after else gates * units)
        projected = cell.connect(flat, w[d], given)
        times = range(x.shape[0])
        for t in reversed(times) if is_backwards else times:
            assert isinstance(projected, Held)
            now = projected.rearranged(projected.order[t : t + 1])
            state = step(cell, now, state, r[d], own, units)
            rows.append(state[0])
        found.append(rows[::-1] if is_backwards else rows)
        lasts.append(state)
    _bind(site, cell, found, lasts, units)


def _biases(both: np.ndarray, joined: int) -> tuple[np.ndarray, np.ndarray]:
    """Biases of the input and of the state; of the first `joined` sums they act as one, which the input gets."""
    given, own = (half.copy() for half in np.split(both, 2))
    given[:joined] += own[:joined]
    own[:joined] = 0
    return given, own


def _bind(site: Site, cell: Cell, found: list[list[Operand]], lasts: list[list[Operand]], units: int) -> None:
    """Y, Y_h and Y_c, of which only those that are read are made."""
    outputs, steps = site.node.outputs, len(found[0])
    for k in range(len(lasts[0])):
        if (len(outputs) > k + 1 and site.importer.consumers.get(outputs[k + 1])) or (
            len(outputs) > k + 1 and outputs[k + 1] in site.importer.outputs
        ):
            site.bind(_joined(cell, [state[k] for state in lasts], (len(lasts), 1, units)), k + 1)
    if outputs[0]:
        rows = [direction[t] for t in range(steps) for direction in found]
        site.bind(_joined(cell, rows, (steps, len(found), 1, units)))


def _joined(cell: Cell, rows: list[Operand], shape: tuple[int, ...]) -> Held:
    whole = rows[0] if len(rows) == 1 else cell.run(movement.concat, *rows, axis=0)
    assert isinstance(whole, Held)
    return whole.rearranged(whole.order.reshape(shape))


def _initial(site: Site, position: int, direction: int, units: int) -> Operand:
    if not site.has(position):
        return Known(np.zeros((1, units), np.float32))
    found = site.operand(position)
    if isinstance(found, Known):
        return Known(found.array[direction].reshape(1, units))
    return found.rearranged(found.order[direction].reshape(1, units))


def _is_zero(state: Operand) -> bool:
    return isinstance(state, Known) and not np.any(state.array)


def _lstm_step(cell: Cell, now: Operand, state: list[Operand], r: np.ndarray, b: np.ndarray, units: int
               ) -> list[Operand]:  # fmt: skip
    """Gates i, o, f, c: C = f C + i c, H = o tanh(C)."""
    sums = cell.add(now, _recur(cell, state[0], r, b))
    i, o, f = (cell.sigmoid(cell.gate(sums, k, units)) for k in range(3))
    fresh = cell.mul(i, cell.tanh(cell.gate(sums, 3, units)))
    c = fresh if _is_zero(state[1]) else cell.add(cell.mul(f, state[1]), fresh)
    return [cell.mul(o, cell.tanh(c)), c]


def _recur(cell: Cell, h: Operand, r: np.ndarray, b: np.ndarray) -> Operand:
    """What the state adds; from a constant state, a constant."""
    if isinstance(h, Known):
        return Known((h.array @ r.T + b).astype(np.float32))
    return cell.connect(h, r, b if np.any(b) else None)


def _cut(operand: Operand, first: int, last: int) -> Operand:
    if isinstance(operand, Known):
        return Known(operand.array[:, first:last])
    return operand.rearranged(operand.order[:, first:last])


def _gru_after(cell: Cell, now: Operand, state: list[Operand], r: np.ndarray, b: np.ndarray, units: int
               ) -> list[Operand]:  # fmt: skip
    """Gates z, r, h: h = tanh(x + r (R H + b))."""
    recurrent = _recur(cell, state[0], r, b)
    sums = cell.add(_cut(now, 0, 2 * units), _cut(recurrent, 0, 2 * units))
    z, reset = (cell.sigmoid(cell.gate(sums, k, units)) for k in range(2))
    fresh = cell.tanh(cell.add(_cut(now, 2 * units, 3 * units), cell.mul(reset, _cut(recurrent, 2 * units, 3 * units))))
    return [_mixed(cell, z, fresh, state[0])]


def _gru_before(cell: Cell, now: Operand, state: list[Operand], r: np.ndarray, b: np.ndarray, units: int
                ) -> list[Operand]:  # fmt: skip
    """Gates z, r, h: h = tanh(x + R (r H) + b)."""
    sums = cell.add(_cut(now, 0, 2 * units), _recur(cell, state[0], r[: 2 * units], b[: 2 * units]))
    z, reset = (cell.sigmoid(cell.gate(sums, k, units)) for k in range(2))
    gated = state[0] if _is_zero(state[0]) else cell.mul(reset, state[0])
    fresh = cell.tanh(cell.add(_cut(now, 2 * units, 3 * units), _recur(cell, gated, r[2 * units :], b[2 * units :])))
    return [_mixed(cell, z, fresh, state[0])]


def _mixed(cell: Cell, z: Operand, fresh: Operand, h: Operand) -> Operand:
    """(1 - z) fresh + z H = fresh + z (H - fresh)."""
    return cell.add(fresh, cell.mul(z, cell.sub(h, fresh)))


ROWS: dict[str, Callable[[Site], None]] = {"GRU": gru, "LSTM": lstm}
