"""The place where a layer is written as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from midge.load.records import Records


class Refused(Exception):
    """A layer, or a use of one, that has no records."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Layer:
    """One call of a layer. Tensors lie as in Keras; `firsts` has those that also exist with their channels first."""

    def __init__(self, records: Records, node: Any, names: dict[int, str], firsts: dict[str, str]) -> None:
        self.records = records
        self.layer = node.operation
        self.inputs = [names[id(tensor)] for tensor in node.input_tensors]
        self.shapes = [(1, *tensor.shape[1:]) for tensor in node.input_tensors]
        self.result_shape = (1, *node.output_tensors[0].shape[1:])
        self.arguments = node.arguments
        self._firsts = firsts

    @property
    def x(self) -> str:
        return self.inputs[0]

    @property
    def rank(self) -> int:
        return len(self.shapes[0])

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.records.op(kind, *inputs, **attributes)

    def constant(self, array: Any, label: str = "constant") -> str:
        return self.records.constant(np.asarray(array, np.float32), label)

    def integers(self, values: Sequence[int]) -> str:
        return self.records.constant(np.array(values, np.int64), "sizes")

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        return self.op("Reshape", name, self.integers(shape))

    def weights(self, attribute: str) -> np.ndarray | None:
        """A weight as NumPy holds it; None where the layer has none."""
        found = getattr(self.layer, attribute, None)
        return None if found is None else to_numpy(found)

    def need(self, attribute: str) -> np.ndarray:
        found = self.weights(attribute)
        if found is None:
            raise Refused(f"no {attribute}")
        return found

    def first(self, name: str | None = None) -> str:
        """A tensor [1, C, …]; the layer's operand is [1, …, C]."""
        name = self.x if name is None else name
        if name not in self._firsts:
            self._firsts[name] = self.op("Transpose", name, perm=[0, self.rank - 1, *range(1, self.rank - 1)])
        return self._firsts[name]

    def last(self, name: str) -> str:
        """A tensor [1, …, C] of one with its channels first."""
        made = self.op("Transpose", name, perm=[0, *range(2, self.rank), 1])
        self._firsts[made] = name
        return made

    def images(self) -> None:
        """Guard: the channels lie last."""
        if getattr(self.layer, "data_format", "channels_last") != "channels_last":
            raise Refused("channels first: build the layer with data_format='channels_last'")

    def activated(self, name: str, attribute: str = "activation") -> str:
        """The layer's activation of a tensor that lies as in Keras."""
        return activate(self, name, getattr(self.layer, attribute, None))


def to_numpy(value: Any) -> np.ndarray:
    """A Keras variable or tensor, on whatever backend."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)


def activate(layer: Layer, name: str, function: Any) -> str:
    """An activation function of Keras."""
    kind = "linear" if function is None else getattr(function, "__name__", type(function).__name__)
    if kind == "linear":
        return name
    if kind in _PLAIN:
        operator, attributes = _PLAIN[kind]
        return layer.op(operator, name, **attributes)
    if kind in ("silu", "swish"):
        return layer.op("Mul", name, layer.op("Sigmoid", name))
    raise Refused(f"the activation {kind}")


_PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "elu": ("Elu", {}),
    "exponential": ("Exp", {}),
    "gelu": ("Gelu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_silu": ("HardSwish", {}),
    "hard_swish": ("HardSwish", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
    "relu": ("Relu", {}),
    "relu6": ("Clip", {"min": 0.0, "max": 6.0}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": -1}),
    "softplus": ("Softplus", {}),
    "tanh": ("Tanh", {}),
}
