"""Imports .onnx files, float and quantised, into channels-last graphs (docs/onnx.md)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from midge.errors import MidgeError, ModelError, UnsupportedError
from midge.ir.graph import Graph
from midge.load.onnx.file import RawModel, RawNode, read_onnx
from midge.load.onnx.folding import FOLDED, can_fold, fold
from midge.load.onnx.held import Known, Order
from midge.load.onnx.ports import add_inputs, add_outputs
from midge.load.onnx.rewrite import rewrite
from midge.load.onnx.rows import ROWS
from midge.load.onnx.site import Importer, Site, UnsupportedLayer
from midge.ops.base import Rounding

_MOST_NODES = 100_000
_CONTRADICTIONS = (
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    ZeroDivisionError,
    AttributeError,
    MemoryError,
)
"""What arithmetic on shapes raises where a damaged file's attributes do not fit its tensors."""
_NATIVE = frozenset((*ROWS, *FOLDED, "Constant", "Shape"))
"""Operators that are not taken apart."""


def load_onnx(path: str | Path, rounding: Rounding = Rounding.SINGLE) -> tuple[Graph, dict[str, Order]]:
    """The graph of an .onnx file, and how its inputs and outputs lie where not as in the file.

    The second says for a port's name the axes of the file's tensor in the graph's order: (0, 2, 3, 1) for an image
    that the file has as [1, C, H, W] and the graph as [1, H, W, C]. Raises ModelError for malformed files,
    UnsupportedError listing every operator without an import. Source: ONNX operator specifications, opsets 7 to 24.
    """
    path = Path(path)
    raw = read_onnx(path, _NATIVE)
    if len(raw.nodes) > _MOST_NODES:
        raise UnsupportedError(raw.file, f"{len(raw.nodes):,} operators", f"at most {_MOST_NODES:,}")
    return graph_of(raw, path.stem, rounding)


def graph_of(raw: RawModel, name: str, rounding: Rounding = Rounding.SINGLE) -> tuple[Graph, dict[str, Order]]:
    """The graph of a file's records."""
    raw = _live(raw)
    raw, known = _folded(raw)
    raw = rewrite(raw, known)
    importer = Importer(raw, name, rounding)
    importer.tensors.update(known)
    inputs, problems = add_inputs(importer)
    for node in raw.nodes:
        problem = None if node.index in importer.done else _import(importer, node)
        if problem:
            problems.append(problem)
    if problems:
        count = "1 part" if len(problems) == 1 else f"{len(problems)} parts"
        raise UnsupportedError(raw.file, f"{count} of the model that Midge has no code for: {'; '.join(problems)}", "",
                               "Replace them in the model before it is exported")  # fmt: skip
    outputs = add_outputs(importer)
    return importer.builder.build(), inputs | outputs


def _live(raw: RawModel) -> RawModel:
    """Only the operators that some output depends on."""
    needed = {port.name for port in raw.outputs}
    live: list[RawNode] = []
    for node in reversed(raw.nodes):
        if needed.intersection(node.outputs):
            live.append(node)
            needed.update(node.inputs)
    made = {name for node in live for name in node.outputs} | set(raw.constants) | {port.name for port in raw.inputs}
    for port in raw.outputs:
        if port.name not in made:
            raise ModelError(f"{raw.file}: output {port.name!r}", "nothing that makes it", "a layer's result",
                             "Export the model again")  # fmt: skip
    return replace(raw, nodes=tuple(live[::-1]))


def _folded(raw: RawModel) -> tuple[RawModel, dict[str, Known]]:
    """Results that depend on constants and static shapes only."""
    known = {name: Known(array) for name, array in raw.constants.items()}
    left = []
    for node in raw.nodes:
        if node.op == "Shape" and node.inputs[0] not in known and _static(raw, node.inputs[0]):
            known[node.outputs[0]] = Known(_shape(raw, node))
        elif can_fold(node) and all(name == "" or name in known for name in node.inputs):
            results = fold(node, [known.get(name) for name in node.inputs], raw)
            known.update(zip((name for name in node.outputs if name), results, strict=False))
        else:
            left.append(node)
    return replace(raw, nodes=tuple(left)), known


def _static(raw: RawModel, name: str) -> bool:
    return name in raw.shapes


def _shape(raw: RawModel, node: RawNode) -> np.ndarray:
    """Shape, with its attributes start and end."""
    first, last = node.attributes.get("start"), node.attributes.get("end")
    return np.array(raw.shapes[node.inputs[0]][first:last], np.int64)


def _import(importer: Importer, node: RawNode) -> str | None:
    """Add one operator to the graph; returns why it is unsupported."""
    site = Site(importer, node)
    if importer.spoiled.intersection(node.inputs):
        return _pass_over(importer, node)
    operands = [importer.tensors.get(name) for name in node.inputs]
    try:
        if node.op == "Shape":
            shape = importer.tensors[node.inputs[0]].shape
            site.bind(Known(np.array(shape[node.attributes.get("start") : node.attributes.get("end")], np.int64)))
            return None
        if can_fold(node) and all(operand is None or isinstance(operand, Known) for operand in operands):
            for position, result in enumerate(fold(node, [k if isinstance(k, Known) else None for k in operands],
                                                   importer.raw)):  # fmt: skip
                site.bind(result, position)
            return None
        if node.op not in ROWS:
            raise UnsupportedLayer(node.attributes.get("refusal", ""))
        ROWS[node.op](site)
        _check_shape(importer, node)
    except UnsupportedLayer as layer:
        importer.spoiled.update(node.outputs)
        return f"{node.title}: {layer.reason}" if layer.reason else node.title
    except MidgeError as error:
        if error.where.startswith(importer.raw.file):
            raise
        raise type(error)(site.where, error.found, error.expected, error.cure) from None
    except _CONTRADICTIONS as error:
        raise ModelError(site.where, f"operands and attributes that contradict each other ({str(error)[:80]})",
                         "what the operator's specification allows", "Export the model again") from error  # fmt: skip
    return None


def _pass_over(importer: Importer, node: RawNode) -> str | None:
    """An operator behind one without an import: it is named too if it has none itself, whatever it would read.

    Sizes of such tensors, and arithmetic on sizes, would have been constants.
    """
    importer.spoiled.update(node.outputs)
    sizes = importer.sizes
    if node.op == "Shape" or all(name in sizes for name in node.inputs if name in importer.spoiled):
        sizes.update(node.outputs)
        return None
    if node.op in ROWS:
        return None
    refusal = node.attributes.get("refusal", "")
    return f"{node.title}: {refusal}" if refusal else node.title


def _check_shape(importer: Importer, node: RawNode) -> None:
    """The shape that the row found is the one that ONNX infers."""
    for name in node.outputs:
        tensor, inferred = importer.tensors.get(name), importer.raw.shapes.get(name)
        if tensor is not None and inferred is not None and tensor.shape != inferred:
            raise ModelError(f"{importer.raw.file}: {node.title}", f"a result of shape {list(inferred)} in the file",
                             f"{list(tensor.shape)}", "Export the model again")  # fmt: skip
