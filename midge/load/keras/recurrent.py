"""LSTM and GRU layers as ONNX's, whose gates stand in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from midge.load.keras.layer import Layer, Refused

_LSTM_GATES = (0, 3, 1, 2)
"""Keras: input, forget, cell, output. ONNX: input, output, forget, cell."""
_GRU_GATES = (0, 1, 2)
"""Both: update, reset, hidden."""


def recurrent(kind: str, gates: tuple[int, ...]) -> Callable[[Layer], str]:
    """[1, T, inputs] to [1, T, units], or to the last [1, units]."""

    def row(layer: Layer) -> str:
        found = layer.layer
        if found.return_state or found.stateful or len(layer.inputs) > 1:
            raise Refused("states that come in or go out")
        named = (found.activation.__name__, found.recurrent_activation.__name__)
        if named != ("tanh", "sigmoid"):
            raise Refused(f"the activations {named[0]} and {named[1]}")
        after = bool(getattr(found, "reset_after", False))
        weights = [layer.constant(array, "weights") for array in _weights(layer, gates, after)]
        x = layer.op("Transpose", layer.x, perm=[1, 0, 2])
        attributes: dict[str, Any] = {"linear_before_reset": int(after)} if kind == "GRU" else {}
        direction = "reverse" if found.go_backwards else "forward"
        y, last = layer.records.ops(kind, (x, *weights), 2, hidden_size=int(found.units), direction=direction,
                                    **attributes)  # fmt: skip
        units, steps = int(found.units), layer.shapes[0][1]
        if not found.return_sequences:
            return layer.reshaped(last, (1, units))
        if found.go_backwards:
            raise Refused("a sequence backwards")
        return layer.reshaped(y, (1, steps, units))

    return row


def _weights(layer: Layer, gates: tuple[int, ...], after: bool) -> tuple[np.ndarray, ...]:
    """W [1, gates units, inputs], R and B of ONNX from [inputs, gates units] and its like."""
    cell = layer.layer.cell

    def ordered(name: str) -> np.ndarray:
        from midge.load.keras.layer import to_numpy

        parts = np.split(to_numpy(getattr(cell, name)), len(gates), axis=-1)
        return np.concatenate([parts[gate] for gate in gates], axis=-1)

    kernels = (ordered("kernel").T[None], ordered("recurrent_kernel").T[None])
    if not layer.layer.use_bias:
        return kernels
    bias = ordered("bias")
    both = bias.reshape(-1) if after else np.concatenate([bias, np.zeros_like(bias)])
    return (*kernels, both[None])


ROWS: dict[str, Callable[[Layer], str]] = {
    "GRU": recurrent("GRU", _GRU_GATES),
    "LSTM": recurrent("LSTM", _LSTM_GATES),
}
