"""Products of tensors that vary, rectifiers with slopes, norms, sums along an axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from midge.load.tflite.site import Site
from midge.ops.batch_matmul import BatchMatmul
from midge.ops.prelu import Prelu


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


ROWS: dict[str, Callable[[Site], None]] = {
    "BATCH_MATMUL": batch_matmul,
    "PRELU": prelu,
}
