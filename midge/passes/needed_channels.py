"""Which channels of every value something depends on, backwards from the outputs.

Masks only grow until nothing changes: from an output to the channels that its weights read, and between values whose
channels go together (an operand of an addition and its result, input and output of a depthwise convolution).
Operators without a rule here need all their channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from midge.ir.graph import Graph, Node
from midge.ops.add import Add
from midge.ops.average_pool2d import AveragePool2D
from midge.ops.base import Op
from midge.ops.concatenation import Concatenation
from midge.ops.copy import Copy
from midge.ops.dequantize import Dequantize
from midge.ops.fully_connected import FullyConnected
from midge.ops.leaky_relu import LeakyRelu
from midge.ops.logistic import Logistic
from midge.ops.max_pool2d import MaxPool2D
from midge.ops.mean import Mean
from midge.ops.mul import Mul
from midge.ops.pad import Pad
from midge.ops.quantize import Quantize
from midge.ops.relu import Relu
from midge.ops.reshape import Reshape
from midge.ops.sub import Sub
from midge.ops.tanh import Tanh
from midge.passes.constant_channels import Folding
from midge.passes.weighted import WINDOWED, any_along, groups_of

Masks = dict[str, np.ndarray]
"""Needed channels by the name of the value: bool [channels]."""
Foldings = Mapping[str, Folding | None]
"""By the name of the node."""


def needed_channels(graph: Graph, foldings: Foldings) -> Masks:
    """The channels of each value to keep; at least one each, all of the graph's inputs, outputs and states."""
    masks = {name: np.zeros(value.type.channels, bool) for name, value in graph.values.items()}
    for name in (*graph.sources, *graph.sinks):
        masks[name][:] = True
    while True:
        _grow(graph, foldings, masks)
        empty = [mask for mask in masks.values() if not mask.any()]
        if not empty:
            return masks
        for mask in empty:
            mask[0] = True


def regroup(mask: np.ndarray, size: int) -> np.ndarray:
    """Channels when the last dimension becomes `size`, a multiple or a divisor of what it was.

    Index i of the larger one and i modulo the smaller one go together.
    """
    if size >= mask.size:
        return np.tile(mask, size // mask.size)
    return any_along(mask.reshape(-1, size), 0)


def _grow(graph: Graph, foldings: Foldings, masks: Masks) -> None:
    """Apply all rules, last node first, until nothing changes."""
    count = -1
    while count != (now := sum(int(mask.sum()) for mask in masks.values())):
        count = now
        for node in reversed(graph.nodes):
            if isinstance(node.op, (*WINDOWED, FullyConnected)):
                _weighted(graph, node, foldings.get(node.name), masks)
            else:
                _RULES.get(type(node.op), _all)(graph, node, masks)


def _all(graph: Graph, node: Node, masks: Masks) -> None:
    del graph
    for name in (*node.inputs, *node.outputs):
        if name is not None:
            masks[name][:] = True


def _weighted(graph: Graph, node: Node, folding: Folding | None, masks: Masks) -> None:
    """Inputs that needed outputs read. Groups stay or go as a whole, and those that stay keep equal sizes."""
    x, weights, bias = (name or "" for name in node.inputs)
    if graph.constant(weights) is None or (bias and graph.constant(bias) is None):
        return _all(graph, node, masks)
    for name in filter(None, (weights, bias)):
        masks[name][:] = True
    groups = groups_of(graph, node)
    outputs = masks[node.outputs[0]].reshape(groups, -1)
    features = graph.type(weights).shape[1] if isinstance(node.op, FullyConnected) else masks[x].size
    if folding is None or max(features, masks[x].size) % min(features, masks[x].size):
        masks[x][:] = True
        inputs = np.ones((groups, features // groups), bool)
    else:
        read = any_along(folding.reads & outputs[..., None], 1)
        inputs = read | regroup(masks[x], features).reshape(groups, -1)
    if groups > 1:
        kept = any_along(outputs, 1) | any_along(inputs, 1)
        outputs, inputs = _evened(outputs, kept), _evened(inputs, kept)
    masks[node.outputs[0]][:] = outputs.ravel()
    if not masks[x].all():
        masks[x] |= regroup(inputs.ravel(), masks[x].size)
    return None


def _evened(mask: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """A mask [groups, members] with as many members in each kept group as the fullest has, and at least one."""
    size = max(1, int(mask.sum(axis=1).max()))
    rank = np.argsort(np.argsort(~mask, axis=1, kind="stable"), axis=1)
    return mask | ((rank < size) & kept[:, None])


def _together(masks: Masks, a: str, b: str) -> None:
    """Channel i of a and channel i of b stay or go together."""
    both = masks[a] | masks[b]
    masks[a][:] = both
    masks[b][:] = both


def _one_to_one(graph: Graph, node: Node, masks: Masks) -> None:
    del graph
    _together(masks, node.inputs[0] or "", node.outputs[0])


def _broadcast(graph: Graph, node: Node, masks: Masks) -> None:
    """Operands with all channels go with the result; a single channel for all of them stays."""
    del graph
    result = node.outputs[0]
    for name in filter(None, node.inputs):
        if masks[name].size == masks[result].size:
            _together(masks, name, result)
        else:
            masks[name][:] = True


def _pad(graph: Graph, node: Node, masks: Masks) -> None:
    """Channels of padding stay or go as their readers need."""
    del graph
    assert isinstance(node.op, Pad)
    x, y = masks[node.inputs[0] or ""], masks[node.outputs[0]]
    before, _ = node.op.paddings[-1]
    inner = y[before : before + x.size]
    inner |= x
    x |= inner


def _mean(graph: Graph, node: Node, masks: Masks) -> None:
    assert isinstance(node.op, Mean)
    rank = len(graph.type(node.inputs[0] or "").shape)
    (_all if rank - 1 in node.op.axes else _one_to_one)(graph, node, masks)


def _reshape(graph: Graph, node: Node, masks: Masks) -> None:
    x, y = node.inputs[0] or "", node.outputs[0]
    small, large = sorted((masks[x].size, masks[y].size))
    if large % small:
        _all(graph, node, masks)
        return
    both = regroup(masks[x], small) | regroup(masks[y], small)
    masks[x][:] = regroup(both, masks[x].size)
    masks[y][:] = regroup(both, masks[y].size)


def _concatenation(graph: Graph, node: Node, masks: Masks) -> None:
    assert isinstance(node.op, Concatenation)
    result = node.outputs[0]
    if node.op.axis != len(graph.type(result).shape) - 1:
        for name in filter(None, node.inputs):
            _together(masks, name, result)
        return
    first = 0
    for name in filter(None, node.inputs):
        part = masks[result][first : first + masks[name].size]
        part |= masks[name]
        masks[name] |= part
        first += part.size


_RULES: Mapping[type[Op], Callable[[Graph, Node, Masks], None]] = {
    Add: _broadcast, Sub: _broadcast, Mul: _broadcast,
    Relu: _one_to_one, LeakyRelu: _one_to_one,
    Logistic: _one_to_one, Tanh: _one_to_one, Quantize: _one_to_one, Dequantize: _one_to_one,
    Copy: _one_to_one, MaxPool2D: _one_to_one, AveragePool2D: _one_to_one,
    Pad: _pad, Mean: _mean, Reshape: _reshape, Concatenation: _concatenation,
}  # fmt: skip
