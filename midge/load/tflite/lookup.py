"""Parts of tensors that are found, or replaced, at run time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.ir.types import DType, TensorType
from midge.load.tflite.site import Site
from midge.ops.base import Activation
from midge.ops.cast import Cast
from midge.ops.dequantize import Dequantize
from midge.ops.dynamic_update_slice import DynamicUpdateSlice
from midge.ops.gather import INDICES, Gather
from midge.ops.mul import Mul
from midge.ops.reduce import Function, Reduce
from midge.ops.reshape import Reshape

_MOST_PARTS = 1 << 24
"""float32 holds whole numbers up to it."""


def gathered(site: Site, table: int, indices: int, axis: int) -> None:
    """Parts of one operand along an axis, by the indices that another holds."""
    inner = site.with_operands([site.required(table), site.required(indices)])
    x, index, y = inner.type(0), inner.type(1), site.result_type()
    if index.dtype not in INDICES:
        site.unsupported(f"indices of type {index.dtype.value}")
    if x.quantization is not None and x.quantization.axis is not None:
        site.unsupported("a table with several scales")
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    if x.dtype is DType.INT8 and x.quantization is not None and y.dtype is DType.FLOAT32:
        chain = inner.chain()
        found = chain.add(Gather(axis), [chain.value(inner.required(0)), chain.value(inner.required(1))],
                          TensorType(DType.INT8, shape, x.quantization))  # fmt: skip
        chain.finish(Dequantize(), [found], shape)
        return
    if (x.dtype, x.quantization) != (y.dtype, y.quantization):
        site.unsupported(f"{x.dtype.value} to {y.dtype.value}, or to another scale")
    inner.emit(Gather(axis), [inner.required(0), inner.required(1)], shape)


def gathered_by_tuples(site: Site) -> None:
    """GATHER_ND by indices [.., n] that come at run time: the part of the tensor that n numbers name.

    Their place among all parts is computed in float32, which holds it exactly.
    """
    x, index, y = site.type(0), site.type(1), site.result_type()
    if index.dtype not in INDICES or not 1 <= index.channels <= len(x.shape):
        site.unsupported(f"indices of type {index.dtype.value}, {index.channels} each")
    if (x.dtype, x.quantization) != (y.dtype, y.quantization):
        site.broken("a result of another type or quantisation", "the tensor's")
    named, rest = x.shape[: index.channels], x.shape[index.channels :]
    parts = math.prod(named)
    if parts > _MOST_PARTS:
        site.unsupported(f"indices among {parts} parts")
    chain, places = site.chain(), index.shape[:-1] or (1,)
    table = chain.reshaped(site.required(0), (parts, *rest))
    flat = chain.value(site.required(1))
    if len(named) > 1:
        tuples, place = TensorType(DType.FLOAT32, index.shape), (*index.shape[:-1], 1)
        strides = np.array([math.prod(named[k + 1 :]) for k in range(len(named))], np.float32)
        factor = chain.constant(TensorType(DType.FLOAT32, strides.shape), strides)
        numbers = chain.add(Cast(), [flat], tuples)
        ahead = chain.add(Mul(Activation.NONE), [numbers, factor], tuples)
        last = (len(index.shape) - 1,)
        sums = chain.add(Reduce(Function.SUM, last, True), [ahead], TensorType(DType.FLOAT32, place))
        flat = chain.add(Cast(), [sums], TensorType(DType.INT32, place))
    kind = DType.INT32 if len(named) > 1 else index.dtype
    flat = chain.add(Reshape(places), [flat], TensorType(kind, places))
    shape = (*index.shape[:-1], *rest)
    found = chain.add(Gather(0), [table, flat], replace(y, shape=(*places, *rest)))
    chain.finish(Reshape(shape), [found], shape)


def embedding_lookup(site: Site) -> None:
    """EMBEDDING_LOOKUP: indices, then the table, of float32 or of int8 in one scale."""
    gathered(site, 1, 0, 0)


def dynamic_update_slice(site: Site) -> None:
    """DYNAMIC_UPDATE_SLICE: a tensor, the update, where it begins."""
    x, update, start = site.type(0), site.type(1), site.type(2)
    kinds = {(type_.dtype, type_.quantization) for type_ in (x, update, site.result_type())}
    if len(kinds) > 1:
        site.unsupported("operands with different scales")
    if start.dtype not in INDICES:
        site.unsupported(f"a place of type {start.dtype.value}")
    operands: list[int | None] = [site.required(position) for position in range(3)]
    site.emit(DynamicUpdateSlice(), operands, x.shape)


ROWS: dict[str, Callable[[Site], None]] = {
    "DYNAMIC_UPDATE_SLICE": dynamic_update_slice,
    "EMBEDDING_LOOKUP": embedding_lookup,
}
