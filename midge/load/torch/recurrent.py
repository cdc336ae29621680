"""LSTM and GRU layers as ONNX's, whose gates stand in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.torch.call import Call, Refused, array_of

_LSTM_GATES = (0, 3, 1, 2)
"""PyTorch: input, forget, cell, output. ONNX: input, output, forget, cell."""
_GRU_GATES = (1, 0, 2)
"""PyTorch: reset, update, new. ONNX: update, reset, hidden."""


def recurrent(kind: str, gates: tuple[int, ...], **attributes: Any) -> Callable[[Call], tuple[str, ...]]:
    """A stack of layers, each [T, 1, inputs] to [T, directions, 1, units]."""

    def row(call: Call) -> tuple[str, ...]:
        if call.get("train", False):
            raise Refused("training mode: call module.eval() before the export")
        states = call["hx"] if kind == "LSTM" else [call["hx"]]
        if any(np.any(_constant(call, state)) for state in states):
            raise Refused("an initial state other than zero")
        x, directions = call.tensor("input"), 2 if call["bidirectional"] else 1
        x = call.op("Transpose", x, perm=[1, 0, 2]) if call["batch_first"] else x
        steps = call.shape("input")[1 if call["batch_first"] else 0]
        arrays = [_constant(call, one) for one in call["params"]]
        each = len(arrays) // (int(call["num_layers"]) * directions)
        if each not in (2, 4):
            raise Refused("projected states")
        lasts: list[list[str]] = [[] for _ in states]
        for layer in range(int(call["num_layers"])):
            sets = [arrays[(layer * directions + k) * each :][:each] for k in range(directions)]
            units = sets[0][1].shape[1]
            weights = [call.records.constant(array, "weights") for array in _stacked(sets, gates, each)]
            made = call.records.ops(kind, (x, *weights), 1 + len(states), hidden_size=units,
                                    direction="bidirectional" if directions == 2 else "forward",
                                    **attributes)  # fmt: skip
            x = call.reshaped(call.op("Transpose", made[0], perm=[0, 2, 1, 3]), (steps, 1, directions * units))
            for last, name in zip(lasts, made[1:], strict=True):
                last.append(name)
        y = call.op("Transpose", x, perm=[1, 0, 2]) if call["batch_first"] else x
        return (y, *(last[0] if len(last) == 1 else call.op("Concat", *last, axis=0) for last in lasts))

    return row


def _constant(call: Call, value: Any) -> np.ndarray:
    found = call._names[value]
    if isinstance(found, str):
        raise Refused("weights or an initial state computed at run time")
    return array_of(found)


def _stacked(sets: list[list[np.ndarray]], gates: tuple[int, ...], each: int) -> tuple[np.ndarray, ...]:
    """W, R and B of ONNX: [directions, gates units, …]."""

    def ordered(array: np.ndarray) -> np.ndarray:
        parts = np.split(array, len(gates))
        return np.concatenate([parts[gate] for gate in gates])

    w, r = (np.stack([ordered(one[k]) for one in sets]) for k in (0, 1))
    if each == 2:
        return w, r
    return w, r, np.stack([np.concatenate([ordered(one[2]), ordered(one[3])]) for one in sets])


ROWS: dict[str, Callable[[Call], Any]] = {
    "aten.gru": recurrent("GRU", _GRU_GATES, linear_before_reset=1),
    "aten.lstm": recurrent("LSTM", _LSTM_GATES),
}
