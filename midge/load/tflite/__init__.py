"""Imports .tflite files: operator after operator, each by its row in `midge.load.tflite.rows`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from midge.errors import MidgeError, ModelError, UnsupportedError
from midge.ir.graph import Graph
from midge.load.tflite.batches import fold_batches
from midge.load.tflite.file import RawOperator, read_tflite
from midge.load.tflite.functions import REFUSED
from midge.load.tflite.liveness import check_results, live_operators
from midge.load.tflite.rows import ROWS, WITH_STATE
from midge.load.tflite.site import Importer, Numerics, Site, UnsupportedLayer
from midge.load.tflite.unsigned import as_signed
from midge.load.tflite.variables import add_states
from midge.ops.reshape import Reshape


def load_tflite(path: str | Path, numerics: Numerics = "litert") -> Graph:
    """The graph of a .tflite file, named after the file.

    `numerics` says whose rounding fully connected layers follow: LiteRT's reference kernels or TensorFlow Lite
    Micro's. Raises ModelError for malformed files, UnsupportedError listing every operator without an import.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(str(path), f"cannot be read ({(error.strerror or str(error)).lower()})") from error
    return graph_of(content, path.name, path.stem, numerics)


def graph_of(content: bytes, file: str, name: str, numerics: Numerics = "litert") -> Graph:
    """The graph of a .tflite file's bytes; `file` names it in messages."""
    raw = read_tflite(content, file)
    called = tuple(as_signed(fold_batches(subgraph), is_called=True) for subgraph in raw.subgraphs)
    raw = replace(as_signed(fold_batches(raw)), subgraphs=called)
    importer = Importer(raw, name, numerics, _import)
    live = live_operators(raw)
    check_results(raw, live)
    problems = _add_inputs(importer)
    problems += [problem for operator in live for problem in _import(importer, operator)]
    if problems:
        count = "1 part" if len(problems) == 1 else f"{len(problems)} parts"
        raise UnsupportedError(file, f"{count} of the model that Midge has no code for: {'; '.join(problems)}", "",
                               "Replace them in the model, or convert it with int8 or float32 layers only")  # fmt: skip
    return _finish(importer)


def _add_inputs(importer: Importer) -> list[str]:
    """Add the graph's inputs; returns those of strange types, as problems."""
    problems = []
    for index in importer.raw.inputs:
        try:
            importer.add_input(index)
        except UnsupportedLayer as layer:
            importer.spoil((index,))
            problems.append(f"input {importer.raw.tensors[index].name!r}: {layer.reason}")
    return problems


def _import(importer: Importer, operator: RawOperator) -> list[str]:
    """Add one operator to the graph; returns why it is unsupported, as a list of at most one."""
    site = Site(importer, operator)
    row = ROWS.get(operator.code)
    try:
        if row is None:
            raise UnsupportedLayer(REFUSED.get(operator.code, ""))
        site.refuse_strange_tensors(with_state=operator.code in WITH_STATE)
        _check_order(importer, operator, site)
        row(site)
    except UnsupportedLayer as layer:
        importer.spoil(operator.outputs)
        reason = f": {layer.reason}" if layer.reason else ""
        return [f"{site.title}{site.dtype_note}{reason}"]
    except MidgeError as error:
        if importer.reads_spoiled(operator):
            importer.spoil(operator.outputs)
            return []
        if error.where.startswith(importer.raw.file):
            raise
        raise type(error)(site.where, error.found, error.expected, error.cure) from None
    return []


def _check_order(importer: Importer, operator: RawOperator, site: Site) -> None:
    """Every operand is an input, a constant, or made before."""
    index = importer.read_too_early(operator)
    if index is not None:
        name = importer.raw.tensors[index].name
        raise ModelError(site.where, f"tensor {index} {name!r} read before anything makes it",
                         "layers in execution order", "Export the model again")  # fmt: skip


def _finish(importer: Importer) -> Graph:
    """Name the outputs and build the graph; an output that is an input or comes twice gets a copy of its own."""
    raw, builder = importer.raw, importer.builder
    if not raw.outputs:
        raise ModelError(raw.file, "no outputs", "at least one", "Export the model again")
    for index in raw.outputs:
        if importer.constant(index) is not None:
            raise UnsupportedError(raw.file, f"the output {raw.tensors[index].name!r} does not depend on any input", "",
                                   "Remove it from the model")  # fmt: skip
        name = importer.value(index)
        if name in builder.outputs or name in builder.inputs:
            type_ = builder.values[name].type
            copy = builder.value(builder.unique(f"{name}_copy"), type_)
            builder.node(Reshape(type_.shape), [name], [copy], name=f"reshape_{copy}")
            name = copy
        builder.outputs.append(name)
    add_states(importer)
    return builder.build()
