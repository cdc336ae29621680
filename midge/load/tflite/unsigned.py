"""uint8, TensorFlow's quantisation before int8, as int8: numbers and zero points both 128 less, so nothing changes.

    CONV_2D of uint8      →      QUANTIZE to int8 - CONV_2D of int8 - QUANTIZE to uint8

Inputs and outputs of the model keep their type. Rows whose reference kernels round in another way for uint8 find
`is_unsigned` at their tensors, and compute `on_bytes`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, Quantization, TensorType
from midge.load.tflite.file import RawModel, RawOperator, RawQuantization, RawTensor
from midge.load.tflite.site import Site
from midge.ops.base import Op
from midge.ops.quantize import Quantize

EXCESS = 128
"""What an unsigned byte is more than the signed one that stands for it."""
_DIRECT = ("QUANTIZE", "DEQUANTIZE")
"""Operators that take uint8 as it is."""


def as_signed(raw: RawModel, *, is_called: bool = False) -> RawModel:
    """The model with int8 in place of uint8 wherever an operator computes with it.

    A subgraph that operators call (`is_called`) gets its inputs and outputs as int8 too, as its callers do.
    """
    users: defaultdict[int, set[str]] = defaultdict(set)
    for operator in raw.operators:
        for index in (*operator.inputs, *operator.outputs):
            users[index].add(operator.code)
    chosen = {tensor.index for tensor in raw.tensors
              if _is_quantized_byte(tensor) and (is_called or not users[tensor.index] <= set(_DIRECT))}  # fmt: skip
    tensors = [_signed(tensor) if tensor.index in chosen else tensor for tensor in raw.tensors]
    if is_called or not chosen.intersection((*raw.inputs, *raw.outputs)):
        return replace(raw, tensors=tensors)
    return _with_conversions(replace(raw, tensors=tensors), raw.tensors, chosen)


def _is_quantized_byte(tensor: RawTensor) -> bool:
    return tensor.dtype == "UINT8" and tensor.quantization is not None


def _signed(tensor: RawTensor) -> RawTensor:
    assert tensor.quantization is not None
    zero_points = tuple(zero - EXCESS for zero in tensor.quantization.zero_points)
    quantization = RawQuantization(tensor.quantization.scales, zero_points, tensor.quantization.axis)
    data = None if tensor.data is None else tensor.data.view(np.uint8) ^ np.uint8(EXCESS)
    return replace(tensor, dtype="INT8", quantization=quantization, data=data, is_unsigned=True)


def _with_conversions(raw: RawModel, originals: Sequence[RawTensor], chosen: set[int]) -> RawModel:
    """The model with a QUANTIZE behind each of its uint8 inputs, and one before each of its outputs."""
    tensors, first = list(raw.tensors), list[RawOperator]()
    last: list[RawOperator] = []
    inner: dict[int, int] = {}
    for index in dict.fromkeys((*raw.inputs, *raw.outputs)):
        if index not in chosen:
            continue
        inner[index] = len(tensors)
        tensors.append(replace(tensors[index], index=len(tensors), name=f"{tensors[index].name}_signed"))
        tensors[index] = originals[index]
        number = len(raw.operators) + len(first) + len(last)
        if index in raw.inputs:
            first.append(RawOperator(number, "QUANTIZE", (index,), (inner[index],), "NONE", None))
        else:
            last.append(RawOperator(number, "QUANTIZE", (inner[index],), (index,), "NONE", None))
    return replace(raw, tensors=tensors, operators=(*first, *(_renamed(op, inner) for op in raw.operators), *last))


def _renamed(operator: RawOperator, inner: dict[int, int]) -> RawOperator:
    """The operator on the signed tensors; one that takes uint8 goes on reading inputs as they are."""
    outputs = tuple(inner.get(index, index) for index in operator.outputs)
    if operator.code in _DIRECT:
        return replace(operator, outputs=outputs)
    return replace(operator, inputs=tuple(inner.get(index, index) for index in operator.inputs), outputs=outputs)


def on_bytes(site: Site, op: Op, shape: tuple[int, ...]) -> None:
    """An operator of one operand that is computed on uint8, between two conversions."""
    chain = site.chain()
    x, y = site.type(0), replace(site.result_type(), shape=shape)
    wide = chain.add(Quantize(), [chain.operand], _unsigned(x))
    chain.finish(Quantize(), [chain.add(op, [wide], _unsigned(y))], shape)


def _unsigned(type_: TensorType) -> TensorType:
    quantization = type_.quantization
    assert quantization is not None
    zero_points = tuple(zero + EXCESS for zero in quantization.zero_points)
    return TensorType(DType.UINT8, type_.shape, Quantization(quantization.scales, zero_points, quantization.axis))
