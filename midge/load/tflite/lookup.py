"""Parts of tensors that are found, or replaced, at run time."""

from __future__ import annotations

from collections.abc import Callable

from midge.ir.types import DType, TensorType
from midge.load.tflite.site import Site
from midge.ops.dequantize import Dequantize
from midge.ops.dynamic_update_slice import DynamicUpdateSlice
from midge.ops.gather import INDICES, Gather


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
