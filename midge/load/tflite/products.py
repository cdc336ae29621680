"""Products of tensors that vary, rectifiers with slopes, norms, sums along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midge.ir.types import DType
from midge.load.tflite.movement import positions_of
from midge.load.tflite.shapes import axis_of
from midge.load.tflite.site import Site
from midge.ops.add import Add
from midge.ops.base import Activation
from midge.ops.batch_matmul import BatchMatmul
from midge.ops.cumsum import Cumsum
from midge.ops.l2_normalization import L2Normalization
from midge.ops.prelu import Prelu
from midge.ops.rearrange import rearrangement


def prelu(site: Site) -> None:
    """PRELU."""
    site.require_dtypes(site.required(0), site.required(1), site.result())
    site.emit(Prelu(), [site.required(0), site.required(1)], site.type(0).shape)


def batch_matmul(site: Site) -> None:
    """BATCH_MATMUL: int8 and float32."""
    a, b = site.type(0), site.type(1)
    flip_a, flip_b = site.options("BatchMatMulOptions", "AdjX", "AdjY")
    if a.dtype is not b.dtype:
        site.unsupported(f"operands of type {a.dtype.value} and {b.dtype.value}")
    site.require_dtypes(site.required(0), site.required(1), site.result())
    if min(len(a.shape), len(b.shape)) < 2:
        site.broken(f"shapes {list(a.shape)} and {list(b.shape)}", "matrices")
    op = BatchMatmul(bool(flip_a), bool(flip_b))
    rows, _, columns = op.sizes(a, b)
    try:
        outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        site.broken(f"shapes {list(a.shape)} and {list(b.shape)}", "operands that broadcast")
    site.emit(op, [site.required(0), site.required(1)], (*outer, rows, columns))


def l2_normalization(site: Site) -> None:
    """L2_NORMALIZATION over the last axis."""
    site.require_dtypes(site.required(0), site.result())
    (code,) = site.operator.options(site.where, "L2NormOptions", "FusedActivationFunction") or (0,)
    if code != 0:
        site.unsupported("a fused activation")
    site.emit(L2Normalization(), [site.required(0)], site.type(0).shape)


def add_n(site: Site) -> None:
    """ADD_N of float32, from the left."""
    operands = [site.required(position) for position in range(len(site.operator.inputs))]
    site.require_dtypes(*operands, site.result())
    x = site.type(0)
    if not x.dtype.is_float:
        site.unsupported("")
    if len(operands) < 2 or any(site.importer.type(index).shape != x.shape for index in operands):
        site.broken(f"{len(operands)} operands", "two or more of one shape")
    chain = site.chain()
    total = chain.value(operands[0])
    for index in operands[1:-1]:
        total = chain.add(Add(Activation.NONE), [total, chain.value(index)], x)
    chain.finish(Add(Activation.NONE), [total, chain.value(operands[-1])], x.shape)


def cumsum(site: Site) -> None:
    """CUMSUM along a constant axis; in reverse it is one between two reversals."""
    x = site.type(0)
    exclusive, is_reversed = site.options("CumsumOptions", "Exclusive", "Reverse")
    if x.dtype not in (DType.FLOAT32, DType.INT32):
        site.unsupported("")
    found = site.known(1, "an axis").reshape(-1)
    if found.size != 1:
        site.broken(f"{found.size} axes", "one")
    axis = axis_of(site, int(found[0]), len(x.shape))
    op = Cumsum(axis, bool(exclusive))
    flip = rearrangement(np.flip(positions_of(site), axis)) if is_reversed else None
    values = site.constant(0)
    if flip is None or x.shape[axis] == 1 or values is not None:
        if values is not None and is_reversed:
            (sums,) = op.evaluate([np.flip(values, axis)], [x], [x])
            site.fold(np.flip(sums, axis))
            return
        site.emit(op, [site.required(0)], x.shape)
        return
    chain = site.chain()
    backwards = chain.add(flip, [chain.operand], x)
    chain.finish(flip, [chain.add(op, [backwards], x)], x.shape)


ROWS: dict[str, Callable[[Site], None]] = {
    "ADD_N": add_n,
    "BATCH_MATMUL": batch_matmul,
    "CUMSUM": cumsum,
    "L2_NORMALIZATION": l2_normalization,
    "PRELU": prelu,
}
