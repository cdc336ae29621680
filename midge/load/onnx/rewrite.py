"""Rewrites of the file's operators before they are imported: what belongs to a layer with weights goes into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from midge.load.onnx.file import RawModel, RawNode
from midge.load.onnx.held import Known

_WEIGHTED = ("Conv", "Gemm", "MatMul")


def rewrite(raw: RawModel, known: dict[str, Known]) -> RawModel:
    """Biases and batch normalisations behind a layer become part of it; `known` gets the new constants.

    Conv(x, W) + b → Conv(x, W, b), and BatchNormalization(Conv(x, W, b)) → Conv(x, W * f, b * f + g), where nothing
    else reads what lies between. Same results but for the rounding of float32.
    """
    nodes = {node.index: node for node in raw.nodes}
    readers: dict[str, int] = {port.name: 2 for port in raw.outputs}
    for node in raw.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    makers = {name: node.index for node in raw.nodes for name in node.outputs}
    for index in [node.index for node in raw.nodes]:
        node = nodes[index]
        position = _layer_operand(node, known)
        if position is None:
            continue
        name = node.inputs[position]
        layer = nodes.get(makers.get(name, -1))
        if layer is None or layer.op not in _WEIGHTED or readers[name] != 1:
            continue
        merged = _with_bias(layer, node, known, position) if node.op == "Add" else _with_norm(layer, node, known)
        if merged is not None:
            del nodes[index]
            nodes[layer.index] = merged
            makers[merged.outputs[0]] = layer.index
    return replace(raw, nodes=tuple(nodes[node.index] for node in raw.nodes if node.index in nodes))


def _layer_operand(node: RawNode, known: Mapping[str, Known]) -> int | None:
    """The operand of an Add or BatchNormalization that no constant is, where all others are."""
    if node.op == "BatchNormalization":
        constant = all(name in known for name in node.inputs[1:]) and not node.attributes.get("training_mode", 0)
        return 0 if constant and len(node.inputs) == 5 else None
    if node.op != "Add" or len(node.inputs) != 2:
        return None
    free = [position for position, name in enumerate(node.inputs) if name not in known]
    return free[0] if len(free) == 1 else None


def _channels(layer: RawNode, known: Mapping[str, Known]) -> int | None:
    """Outputs of a layer with constant weights."""
    weights = known.get(layer.inputs[1])
    if weights is None or weights.array.ndim < 2:
        return None
    if layer.op == "Conv" or (layer.op == "Gemm" and layer.attributes.get("transB", 0)):
        return weights.shape[0]
    return weights.shape[-1]


def _with_bias(layer: RawNode, node: RawNode, known: dict[str, Known], position: int) -> RawNode | None:
    name, outputs = node.inputs[1 - position], _channels(layer, known)
    addend, rank = known[name], len(known[layer.inputs[1]].shape) if layer.inputs[1] in known else 0
    if outputs is None or (len(layer.inputs) > 2 and layer.inputs[2]):
        return None
    shape = (outputs, *(1,) * (rank - 2)) if layer.op == "Conv" else (outputs,)
    if addend.array.size != outputs or addend.shape[-len(shape) :] != shape:
        return None
    made = f"{name} as bias of layer {layer.index}"
    flat = None if addend.quantized is None else addend.quantized.reshape(-1)
    known[made] = replace(addend, array=addend.array.reshape(-1), quantized=flat, axis=0)
    return replace(layer, inputs=(*layer.inputs[:2], made), outputs=node.outputs[:1])


def _with_norm(layer: RawNode, node: RawNode, known: dict[str, Known]) -> RawNode | None:
    """The factors and offsets of the normalisation, in float64, rounded once."""
    outputs, x = _channels(layer, known), layer.inputs[0]
    if outputs is None or layer.op == "MatMul" or known[layer.inputs[1]].quantized is not None:
        return None
    scale, offset, mean, variance = (known[name].array.astype(np.float64).reshape(-1) for name in node.inputs[1:])
    if any(array.size != outputs for array in (scale, offset, mean, variance)):
        return None
    factor = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    weights = known[layer.inputs[1]].array.astype(np.float64)
    along = [1] * weights.ndim
    along[0 if layer.op == "Conv" or layer.attributes.get("transB", 0) else -1] = -1
    bias = np.zeros(outputs)
    if len(layer.inputs) > 2 and layer.inputs[2]:
        if layer.inputs[2] not in known:
            return None
        bias = known[layer.inputs[2]].array.astype(np.float64).reshape(-1)
        if bias.size not in (1, outputs):
            return None
    beta, alpha = float(layer.attributes.get("beta", 1.0)), float(layer.attributes.get("alpha", 1.0))
    names = tuple(f"{what} of layer {layer.index} with layer {node.index}" for what in ("weights", "bias"))
    known[names[0]] = Known((weights * alpha * factor.reshape(along)).astype(np.float32))
    known[names[1]] = Known(((bias * beta - mean) * factor + offset).astype(np.float32))
    attributes = {name: value for name, value in layer.attributes.items() if name not in ("alpha", "beta")}
    return replace(layer, inputs=(x, *names), outputs=node.outputs[:1], attributes=attributes)
