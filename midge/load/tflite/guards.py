"""Which element types a layer's tensors may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from midge.errors import ModelError
from midge.ir.types import DType

if TYPE_CHECKING:
    from midge.load.tflite.site import Site


def require_dtypes(site: Site, indices: Sequence[int], int16: bool) -> None:
    """All these tensors are float32, or all are int8 with a quantisation, or (`int16`) all int16 with zero point 0."""
    types = [site.importer.type(index) for index in indices]
    names = ", ".join(dict.fromkeys(type_.dtype.value for type_ in types))
    if all(type_.dtype is DType.FLOAT32 for type_ in types):
        return
    wanted = DType.INT16 if int16 and types[0].dtype is DType.INT16 else DType.INT8
    if not all(type_.dtype is wanted for type_ in types):
        site.unsupported(f"operands of type {names}" if len(types) > 1 else "")
    for index, type_ in zip(indices, types, strict=True):
        if type_.quantization is None:
            raise ModelError(site.importer.where_tensor(index), f"{wanted.value} without scale and zero point",
                             "a quantised tensor", "Quantise the whole model, with calibration data")  # fmt: skip
        if wanted is DType.INT16 and any(type_.quantization.zero_points):
            site.unsupported("int16 with a zero point")


def require_weighted(site: Site) -> None:
    """Operand 0 and the result have one type, the weights it too; beside float32 and int16 they may be int8."""
    x, weights = site.type(0), site.type(1)
    site.require_dtypes(site.required(0), site.result(), int16=True)
    if weights.dtype is DType.INT8 and x.dtype in (DType.FLOAT32, DType.INT16):
        return
    if weights.dtype is DType.INT16 and x.dtype is DType.INT8:  # from int8 with a zero point (`zero_points`)
        return
    site.require_dtypes(site.required(0), site.required(1))
