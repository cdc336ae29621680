"""What Midge says it takes, as rules over a model file that do not ask Midge's importers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from midge.load.onnx.file import OLDEST_OPSET
from midge.load.onnx.held import MOST_ELEMENTS
from midge.load.tflite.file import read_tflite

TEXT = f"""\
In scope is a model that

- its own runtime takes: LiteRT allocates and runs it with its reference kernels, or `onnx.checker` accepts it and ONNX
  Runtime runs it;
- is a network of fixed size: all shapes are known but the batch, which is 1; the sizes of results do not depend on
  values, and images have one or two spatial axes;
- has only operators of the formats' own sets (the builtin ones of TensorFlow Lite; of ONNX the standard domain, opset
  {OLDEST_OPSET} or newer, and the quantised operators and Gelu of `com.microsoft`): no custom operators, no private
  domains, none compiled for an accelerator, no composites;
- has constant weights, where it has layers with weights, and constant bounds of slices;
- infers: no losses, gradients or random numbers;
- has no control flow;
- computes with numbers: float32, float16, signed and unsigned integers of 4, 8 and 16 bits, int32, int64, bool; no
  strings, sequences, maps, complex numbers, bfloat16, float64 or other types;
- could be in a microcontroller: no constant of more than {MOST_ELEMENTS:,} elements;
- is no classical machine learning (`ai.onnx.ml`: trees, support vector machines, …);
- has inputs that its outputs depend on.
"""

_DTYPES = frozenset(
    ("FLOAT32", "FLOAT", "FLOAT16", "INT4", "UINT4", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL", "RESOURCE")
)
_CONTROL = frozenset(("If", "Loop", "Scan", "IF", "WHILE"))
_RANDOM = ("Random", "RANDOM", "Multinomial", "MULTINOMIAL", "Bernoulli")
_VALUE_SIZED = frozenset(("NonZero", "Unique", "Compress", "NonMaxSuppression", "WHERE", "UNIQUE",
                          "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"))  # fmt: skip
_IMAGES = frozenset(("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool", "AveragePool",
                     "GlobalAveragePool"))  # fmt: skip
_REST, _WEIGHTS = slice(1, None), slice(1, 4)
_FIXED_OPERANDS = dict.fromkeys(
    ("Conv", "ConvTranspose", "Expand", "GatherElements", "GatherND", "Pad", "Reshape", "Resize",
     "Slice", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze", "Upsample"), _REST,
) | {
    "ConstantOfShape": slice(None), "GRU": _WEIGHTS, "LSTM": _WEIGHTS, "RNN": _WEIGHTS, "Range": slice(None),
}  # fmt: skip
_CONTRIBUTED = ("QLinear", "QGemm", "Gelu")


def out_of_scope(path: Path) -> str:
    """The first rule that the file breaks; empty where it breaks none. For files that can be read."""
    rules = _onnx(path) if path.suffix == ".onnx" else _tflite(path)
    return next(rules, "")


def _tflite(path: Path) -> Iterator[str]:
    model = read_tflite(path.read_bytes(), path.name)
    for operator in model.operators:
        if operator.code == "CUSTOM" or operator.code.startswith("CUSTOM:"):
            yield f"custom operator {operator.code.partition(':')[2]}".strip()
        if operator.code.startswith("STABLEHLO"):
            yield "a composite"
        if operator.code in _CONTROL:
            yield f"control flow ({operator.code})"
        if operator.code in _VALUE_SIZED or operator.code.startswith(_RANDOM):
            yield f"{operator.code}: results of random values, or of a size that depends on values"
        if operator.code in ("CONV_3D", "CONV_3D_TRANSPOSE"):
            yield "images of three spatial axes"
    for index in {i for operator in model.operators for i in (*operator.inputs, *operator.outputs) if i >= 0}:
        tensor = model.tensors[index]
        if tensor.dtype not in _DTYPES:
            yield f"elements of type {tensor.dtype.lower()}"
        if tensor.data is not None and np.prod(tensor.shape, dtype=float) > MOST_ELEMENTS:
            yield f"a constant of {int(np.prod(tensor.shape)):,} elements"
    if not model.inputs:
        yield "no inputs"


def _onnx(path: Path) -> Iterator[str]:
    import onnx

    model = onnx.load(str(path))
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if opsets.get("ai.onnx", OLDEST_OPSET) < OLDEST_OPSET:
        yield f"opset {opsets['ai.onnx']}"
    for node in model.graph.node:
        yield from _onnx_node(node)
    constants = {tensor.name for tensor in model.graph.initializer}
    for info in (*model.graph.input, *model.graph.output):
        yield from _onnx_port(info, is_input=info.name not in constants)
    for count in _constant_sizes(model):
        if count > MOST_ELEMENTS:
            yield f"a constant of {count:,} elements"
    if not _depends(model, constants):
        yield "results that depend on no input"
    yield from _volumes(model)
    yield from _values_as_sizes(model, constants)


def _values_as_sizes(model: Any, constants: set[str]) -> Iterator[str]:
    """Operands that a network of fixed size has as constants, made from inputs here."""
    varying = {info.name for info in model.graph.input} - constants
    for node in model.graph.node:
        fixed = _FIXED_OPERANDS.get(node.op_type, slice(0))
        if varying.intersection(node.input[fixed]):
            yield f"{node.op_type} with sizes or weights that depend on an input"
        if node.op_type not in ("Shape", "Size") and varying.intersection(node.input):
            varying.update(node.output)


def _onnx_node(node: Any) -> Iterator[str]:
    domain = node.domain or "ai.onnx"
    if domain == "ai.onnx.ml":
        yield f"classical machine learning ({node.op_type})"
    elif domain != "ai.onnx" and not (domain == "com.microsoft" and node.op_type.startswith(_CONTRIBUTED)):
        yield f"operator {node.op_type} of {domain}"
    if node.op_type in _CONTROL:
        yield f"control flow ({node.op_type})"
    if node.op_type in _VALUE_SIZED or node.op_type.startswith(_RANDOM):
        yield f"{node.op_type}: results of random values, or of a size that depends on values"
    if "Loss" in node.op_type or "Grad" in node.op_type:
        yield f"training ({node.op_type})"


def _onnx_port(info: Any, *, is_input: bool) -> Iterator[str]:
    import onnx

    if not info.type.HasField("tensor_type"):
        yield f"{info.name!r} is no tensor"
        return
    tensor = info.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type)
    if name not in _DTYPES:
        yield f"elements of type {name.lower()}"
    if not is_input:
        return
    if not tensor.HasField("shape") or any(not dim.HasField("dim_value") for dim in tensor.shape.dim[1:]):
        yield "an open shape"


def _constant_sizes(model: Any) -> Iterator[int]:
    """Elements of the constants, of those that ConstantOfShape makes too."""
    from onnx import numpy_helper

    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    for tensor in arrays.values():
        yield int(np.prod(tensor.dims, dtype=np.int64))
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in arrays:
            yield int(np.prod(numpy_helper.to_array(arrays[node.input[0]]), dtype=np.int64))


def _depends(model: Any, constants: set[str]) -> bool:
    """True where every output is made from some input."""
    fed = {info.name for info in model.graph.input} - constants
    for _ in range(2):  # a file may hold its operators in any order
        for node in model.graph.node:
            if fed.intersection(node.input):
                fed.update(node.output)
    return all(info.name in fed for info in model.graph.output)


def _volumes(model: Any) -> Iterator[str]:
    """Operators of images on more than two spatial axes, or on more than one image."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        info.name: [dim.dim_value if dim.HasField("dim_value") else 1 for dim in info.type.tensor_type.shape.dim]
        for info in (*inferred.graph.input, *inferred.graph.value_info)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.graph.initializer}
    for node in model.graph.node:
        shape = shapes.get(node.input[0], []) if node.op_type in _IMAGES else []
        if len(shape) > 4:
            yield "images of three spatial axes"
        if len(shape) > 2 and shape[0] > 1:
            yield f"a batch of {shape[0]}"
