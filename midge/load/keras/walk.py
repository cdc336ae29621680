"""Walks the layers of a functional or sequential model, from its inputs to its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from midge.errors import UnsupportedError
from midge.load.keras import operations
from midge.load.keras.layer import Layer, Refused
from midge.load.keras.rows import ROWS
from midge.load.onnx.file import RawModel
from midge.load.records import Records


def translate(model: Any, file: str) -> RawModel:
    """The records of a model."""
    records = Records(file)
    graph = _graph(model, file)
    names: dict[int, str] = {}
    firsts: dict[str, str] = {}
    for tensor in graph.inputs:
        shape = (1, *tensor.shape[1:])
        if None in shape:
            raise UnsupportedError(file, f"the input {tensor.name!r} of an open shape {list(tensor.shape)}",
                                   "fixed sizes", "Build it with them: keras.Input((49, 10, 1))")  # fmt: skip
        names[id(tensor)] = records.input(tensor.name, np.dtype(tensor.dtype), shape)
    _walk(records, graph, names, firsts)
    for tensor in graph.outputs:
        records.output(names[id(tensor)], np.dtype(tensor.dtype), (1, *tensor.shape[1:]))
    return records.model()


def _graph(model: Any, file: str) -> Any:
    """The functional form of a model. Raises UnsupportedError for subclasses that have none."""
    graph = getattr(model, "_functional", None) or model
    if not getattr(graph, "_nodes_by_depth", None):
        raise UnsupportedError(file, f"a model of class {type(model).__name__} without a graph of layers",
                               "a functional or sequential model that is built",
                               "Build it with keras.Model(inputs, outputs), or call model.build(shape)")  # fmt: skip
    return graph


def _walk(records: Records, graph: Any, names: dict[int, str], firsts: dict[str, str]) -> None:
    """Write the layers in execution order; `names` has the records of the graph's inputs."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            operation = node.operation
            inner = getattr(operation, "_functional", None) or operation
            if getattr(inner, "_nodes_by_depth", None):
                _nested(records, inner, node, names, firsts)
                continue
            records.layer = operation.name
            made = _layer(records, node, names, firsts)
            for tensor, name in zip(node.output_tensors, made, strict=False):
                names[id(tensor)] = name


def _nested(records: Records, inner: Any, node: Any, names: dict[int, str], firsts: dict[str, str]) -> None:
    """A model that stands as a layer."""
    inside = {id(own): names[id(given)] for own, given in zip(inner.inputs, node.input_tensors, strict=True)}
    _walk(records, inner, inside, firsts)
    for given, own in zip(node.output_tensors, inner.outputs, strict=True):
        names[id(given)] = inside[id(own)]


def _layer(records: Records, node: Any, names: dict[int, str], firsts: dict[str, str]) -> tuple[str, ...]:
    """The names of what a layer makes."""
    kind = type(node.operation).__name__
    layer = Layer(records, node, names, firsts)
    is_layer = hasattr(node.operation, "trainable_variables")
    before, row = len(records.nodes), (ROWS if is_layer else operations.ROWS).get(kind)
    try:
        if row is None:
            raise Refused(_REASONS.get(kind, ""))
        return (row(layer),)
    except Refused as refused:
        del records.nodes[before:]
        inputs = [names[id(tensor)] for tensor in node.input_tensors]
        name = f"keras.{kind}" if is_layer else f"keras.ops.{kind}"
        return records.refuse(name, inputs, len(node.output_tensors), refused.reason)


_REASONS = {
    "Embedding": "indices as inputs: put the embedding's rows in as the input instead",
    "Lambda": "code of its own",
}
