"""LSTM, GRU and RNN, unrolled: every step is arithmetic of its own, the weights are shared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from midge.load.onnx import movement
from midge.load.onnx.cells import Activations, Cell, Operand, Step, Way, gru_step, lstm_step, plain_step
from midge.load.onnx.held import Held, Known
from midge.load.onnx.site import Site

_MOST_STEPS = 512


def lstm(site: Site) -> None:
    """LSTM, with peepholes or coupled gates where it has them."""
    _unroll(site, 4, lstm_step, 2, ("Sigmoid", "Tanh", "Tanh"), joined=4)


def gru(site: Site) -> None:
    """GRU; the reset gate before or after the state's weights."""
    is_linear_first = bool(site.attribute("linear_before_reset", 0))
    step = partial(gru_step, is_linear_first=is_linear_first)
    _unroll(site, 3, step, 1, ("Sigmoid", "Tanh"), joined=2 if is_linear_first else 3)


def rnn(site: Site) -> None:
    """RNN: one gate."""
    _unroll(site, 1, plain_step, 1, ("Tanh",), joined=1)


def _unroll(site: Site, gates: int, step: Step, states: int, functions: tuple[str, ...], joined: int) -> None:
    """X [T, N, inputs] with W [D, gates U, inputs], R [D, gates U, U], B [D, 2 gates U] makes Y [T, D, N, U].

    `joined`: of so many gates the input's and the state's bias act as one.
    """
    x = _input(site)
    w, r = site.known(1, "weights"), site.known(2, "weights of the state")
    b = site.known(3, "a bias") if site.has(3) else np.zeros((w.shape[0], 2 * w.shape[1]), np.float32)
    directions, units, (steps, batch, inputs) = w.shape[0], r.shape[-1], x.shape
    if w.shape != (directions, gates * units, inputs) or r.shape != (directions, gates * units, units):
        site.broken(f"weights of shape {list(w.shape)} and {list(r.shape)}", f"{gates} gates of {units} units")
    ways = _backwards(site, directions)
    named = _functions(site, functions, directions)
    cell, flat = Cell(site), x.rearranged(x.order.reshape(steps * batch, inputs))
    found, lasts = [], []
    for d, is_backwards in enumerate(ways):
        state = [_initial(site, 5 + k, d, (batch, units)) for k in range(states)]
        given, own = _biases(b[d], joined * units)
        way = Way(r[d], own, units, named.part(d * len(functions), len(functions)), _peepholes(site, d, units),
                  bool(site.attribute("input_forget", 0)))  # fmt: skip
        projected = cell.connect(flat, w[d], given)
        assert isinstance(projected, Held)
        rows: list[Operand] = []
        for t in reversed(range(steps)) if is_backwards else range(steps):
            now = projected.rearranged(projected.order[t * batch : (t + 1) * batch])
            state = step(cell, way, now, state)
            rows.append(state[0])
        found.append(rows[::-1] if is_backwards else rows)
        lasts.append(state)
    _bind(site, cell, found, lasts, (batch, units))


def _input(site: Site) -> Held:
    """X with time first."""
    x = site.held(0)
    if len(x.shape) != 3:
        site.unsupported(f"shape {list(x.shape)}")
    if site.attribute("layout", 0):
        x = x.rearranged(x.order.swapaxes(0, 1))
    if site.has(4) and np.any(site.known(4, "lengths of sequences") != x.shape[0]):
        site.unsupported("sequences shorter than the input")
    if site.attribute("clip") is not None:
        site.unsupported("clipping")
    if x.shape[0] > _MOST_STEPS:
        site.unsupported(f"{x.shape[0]} steps in time, more than the {_MOST_STEPS} that are unrolled")
    return x


def _backwards(site: Site, directions: int) -> list[bool]:
    """Which way each direction goes."""
    named = site.attribute("direction", "forward")
    ways = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(named, [])
    if len(ways) != directions:
        site.broken(f"direction {named!r} with weights for {directions}", "forward, reverse or bidirectional")
    return ways


def _functions(site: Site, standard: tuple[str, ...], directions: int) -> Activations:
    named = [text.decode() if isinstance(text, bytes) else text for text in site.attribute("activations", [])]
    if len(named) not in (0, len(standard) * directions):
        site.broken(f"{len(named)} activations", f"{len(standard)} for each direction")
    return Activations.of(site, named or standard * directions)


def _peepholes(site: Site, direction: int, units: int) -> np.ndarray | None:
    """P [D, 3 U] of an LSTM."""
    if not site.has(7):
        return None
    return site.known(7, "peepholes")[direction].reshape(3, units)


def _biases(both: np.ndarray, joined: int) -> tuple[np.ndarray, np.ndarray]:
    """Biases of the input and of the state; of the first `joined` sums they act as one, which the input gets."""
    given, own = (half.copy() for half in np.split(both, 2))
    given[:joined] += own[:joined]
    own[:joined] = 0
    return given, own


def _bind(site: Site, cell: Cell, found: list[list[Operand]], lasts: list[list[Operand]], shape: tuple[int, int]
          ) -> None:  # fmt: skip
    """Y, Y_h and Y_c, of which only those that are read are made."""
    steps, is_batch_first = len(found[0]), bool(site.attribute("layout", 0))
    for k in range(len(lasts[0])):
        if site.is_read(k + 1):
            last = _joined(cell, [state[k] for state in lasts], (len(lasts), *shape))
            site.bind(last.rearranged(last.order.swapaxes(0, 1)) if is_batch_first else last, k + 1)
    if site.is_read(0):
        rows = [direction[t] for t in range(steps) for direction in found]
        whole = _joined(cell, rows, (steps, len(found), *shape))
        site.bind(whole.rearranged(whole.order.transpose(2, 0, 1, 3)) if is_batch_first else whole)


def _joined(cell: Cell, rows: list[Operand], shape: tuple[int, ...]) -> Held:
    whole = rows[0] if len(rows) == 1 else cell.run(movement.concat, *rows, axis=0)
    assert isinstance(whole, Held)
    return whole.rearranged(whole.order.reshape(shape))


def _initial(site: Site, position: int, direction: int, shape: tuple[int, int]) -> Operand:
    if not site.has(position):
        return Known(np.zeros(shape, np.float32))
    found = site.operand(position)
    axis = 1 if site.attribute("layout", 0) else 0
    if isinstance(found, Known):
        return Known(found.array.take(direction, axis).reshape(shape))
    return found.rearranged(found.order.take(direction, axis).reshape(shape))


ROWS: dict[str, Callable[[Site], None]] = {"GRU": gru, "LSTM": lstm, "RNN": rnn}
