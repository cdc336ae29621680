"""Inputs and outputs: their types, and the arrangement in which the graph holds them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from midge.errors import ModelError, UnsupportedError
from midge.ir.types import DType, Quantization, TensorType
from midge.load.onnx.file import RawNode, RawPort
from midge.load.onnx.held import MOST_ELEMENTS, Held, Known, Order, arrangement, channels_last
from midge.load.onnx.scales import UNSIGNED_EXCESS, type_of_scale
from midge.load.onnx.site import Importer
from midge.ops.quantize import Quantize
from midge.ops.reshape import Reshape

_IMAGE_NAMES = """
    AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace GlobalAveragePool GlobalMaxPool
    InstanceNormalization LRN MaxPool QLinearConv Resize SpaceToDepth Upsample com.microsoft:QLinearAveragePool
    com.microsoft:QLinearGlobalAveragePool
"""
_IMAGES = frozenset(_IMAGE_NAMES.split())
"""Operators whose first operand is [N, C, …]."""
_TRANSPARENT_NAMES = """
    Add Cast Clip DequantizeLinear Div Dropout Identity LeakyRelu Mul PRelu Pad QuantizeLinear Relu Sigmoid Sub Tanh
    com.microsoft:QLinearAdd com.microsoft:QLinearMul
"""
_TRANSPARENT = frozenset(_TRANSPARENT_NAMES.split())
_MOVES = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
_DTYPES = {
    "float32": DType.FLOAT32, "int32": DType.INT32, "int64": DType.INT64, "int16": DType.INT16, "bool": DType.BOOL,
}  # fmt: skip


def add_inputs(importer: Importer) -> tuple[dict[str, Order], list[str]]:
    """Add the graph's inputs; returns the arrangements of those that lie otherwise, and what is wrong with others."""
    orders: dict[str, Order] = {}
    problems: list[str] = []
    for port in importer.raw.inputs:
        problem = _problem(port)
        if problem:
            problems.append(f"input {port.name!r}: {problem}")
            importer.spoiled.add(port.name)
            continue
        _add_input(importer, port, orders)
    return orders, problems


def _problem(port: RawPort) -> str | None:
    if port.dtype is None or port.dtype.name not in (*_DTYPES, "uint8", "int8"):
        return f"elements of type {port.dtype.name}" if port.dtype is not None else "no tensor of numbers"
    if port.shape is None:
        return "no shape"
    if any(size is None for size in port.shape[1:]):
        return "an open shape; export it with fixed sizes"
    if any(size is not None and size < 1 for size in port.shape):
        return f"the shape {list(port.shape)}"
    if math.prod(size or 1 for size in port.shape) > MOST_ELEMENTS:
        return f"a tensor of shape {list(port.shape)}"
    return None


def _add_input(importer: Importer, port: RawPort, orders: dict[str, Order]) -> None:
    assert port.shape is not None and port.dtype is not None
    shape = tuple(size or 1 for size in port.shape)
    axes = channels_last(len(shape)) if _is_image(importer, port.name, len(shape)) else tuple(range(len(shape)))
    lying = tuple(shape[axis] for axis in axes)
    if axes != tuple(range(len(shape))):
        orders[port.name] = axes
    order = arrangement(shape, axes)
    wide = _read_as(importer, port.name, lying) if port.dtype == np.int16 else None
    if port.dtype.name in ("int8", "uint8"):
        type_ = _quantized_input(importer, port, lying)
    elif wide is not None:
        type_ = wide
    else:
        type_ = TensorType(_DTYPES[port.dtype.name], lying)
    name = importer.value(port.name, type_)
    importer.builder.inputs.append(name)
    unsigned = type_.dtype is DType.UINT8
    if unsigned:
        name, type_ = _signed(importer, name, type_)
    importer.tensors[port.name] = Held(name, type_, order, is_unsigned=unsigned)


def _is_image(importer: Importer, name: str, rank: int) -> bool:
    """True where an input reaches an operator of images through others that keep its shape."""
    if rank not in (3, 4):
        return False
    waiting, seen = [name], {name}
    while waiting:
        for node in importer.consumers.get(waiting.pop(), []):
            if node.op in _IMAGES and node.inputs[0] in seen:
                return True
            if node.op in _TRANSPARENT and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                waiting.append(node.outputs[0])
    return False


def _quantized_input(importer: Importer, port: RawPort, shape: tuple[int, ...]) -> TensorType:
    """Integers with the scale that their first reader names; without one they stand for themselves."""
    assert port.dtype is not None
    found = _read_as(importer, port.name, shape)
    if found is None:
        return TensorType(DType(port.dtype.name), shape, Quantization((1.0,), (0,), None))
    return _unsigned(found) if port.dtype == np.uint8 else found


def _read_as(importer: Importer, name: str, shape: tuple[int, ...]) -> TensorType | None:
    """The type that the first reader with a scale names, behind operators that only move elements."""
    waiting = [name]
    while waiting:
        tensor = waiting.pop(0)
        for node in importer.consumers.get(tensor, []):
            found = _reader_type(importer, node, tensor, shape)
            if found is not None:
                return found
            if node.op in _MOVES:
                waiting.append(node.outputs[0])
    return None


def _reader_type(importer: Importer, node: RawNode, name: str, shape: tuple[int, ...]) -> TensorType | None:
    position = node.inputs.index(name)
    follow = node.inputs[position + 1 : position + 3]
    tensors = [importer.tensors.get(follower) for follower in follow]
    if node.op not in ("DequantizeLinear",) and "QLinear" not in node.op and "QGemm" not in node.op:
        return None
    if len(tensors) < 2 or not all(isinstance(tensor, Known) for tensor in tensors):
        return None
    scale, zero = (tensor.array for tensor in tensors if isinstance(tensor, Known))
    return type_of_scale(scale, zero, shape)


def _unsigned(type_: TensorType) -> TensorType:
    """The same as unsigned bytes."""
    quantization = type_.quantization
    assert quantization is not None
    zero = quantization.zero_point + UNSIGNED_EXCESS
    return TensorType(DType.UINT8, type_.shape, Quantization(quantization.scales, (zero,), None))


def _signed(importer: Importer, name: str, type_: TensorType) -> tuple[str, TensorType]:
    quantization = type_.quantization
    assert quantization is not None
    zero = quantization.zero_point - UNSIGNED_EXCESS
    signed = TensorType(DType.INT8, type_.shape, Quantization(quantization.scales, (zero,), None))
    made = importer.value(f"{name}_signed", signed)
    importer.builder.node(Quantize(), [name], [made], name=f"quantize_{made}")
    return made, signed


def add_outputs(importer: Importer) -> dict[str, Order]:
    """Name the graph's outputs; returns the arrangements of those that lie otherwise."""
    orders: dict[str, Order] = {}
    builder = importer.builder
    if not importer.raw.outputs:
        raise ModelError(importer.raw.file, "no outputs", "at least one", "Export the model again")
    for port in importer.raw.outputs:
        tensor = importer.tensors[port.name]
        if isinstance(tensor, Known):
            raise UnsupportedError(importer.raw.file, f"the output {port.name!r} does not depend on any input", "",
                                   "Remove it from the model")  # fmt: skip
        held = _as_declared(importer, tensor, port)
        identity = tuple(range(len(held.shape)))
        axes = identity if held.lies_as(identity) else held.axes or identity
        name = importer.place(held, axes)
        if name in builder.outputs or name in builder.inputs:
            copy = importer.value(f"{name}_copy", builder.values[name].type)
            builder.node(Reshape(builder.values[name].type.shape), [name], [copy], name=f"reshape_{copy}")
            name = copy
        builder.outputs.append(name)
        if axes != identity:
            orders[name] = axes
    return orders


def _as_declared(importer: Importer, held: Held, port: RawPort) -> Held:
    """A result in the element type that the file says."""
    if held.is_real:
        return importer.real(held)
    if port.dtype == np.uint8 and held.type.dtype is DType.INT8:
        return _as_unsigned(importer, held)
    dtype = None if port.dtype is None else _DTYPES.get(port.dtype.name)
    return held if dtype is None else importer.cast(held, dtype)


def _as_unsigned(importer: Importer, held: Held) -> Held:
    type_ = _unsigned(held.type)
    made = importer.value(f"{held.value}_unsigned", type_)
    importer.builder.node(Quantize(), [held.value], [made], name=f"quantize_{made}")
    return replace(held, value=made, type=type_)
