"""Products of integers without scales: ConvInteger and MatMulInteger, in whole numbers of float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.load.onnx import weighted
from midge.load.onnx.functions import apply, two
from midge.load.onnx.held import Held, Known
from midge.load.onnx.site import Site
from midge.ops.map import Function
from midge.ops.sub import Sub


def conv_integer(site: Site) -> None:
    """ConvInteger: the convolution of x - x_zero_point with w - w_zero_point."""
    x, weights = _centred(site, 0, 2), _centred_weights(site, 1, 3, 0)
    weighted.convolve(site, x, weights, None, None)
    _keep_whole(site)


def matmul_integer(site: Site) -> None:
    """MatMulInteger with a constant on the right: (a - a_zero_point) (b - b_zero_point)."""
    a, weights = _centred(site, 0, 2), _centred_weights(site, 1, 3, -1)
    weighted.multiply(site, a, weights, None, None)
    _keep_whole(site)


def _centred(site: Site, position: int, zero: int) -> Held:
    """The operand's numbers without their zero point; it may have one for each row."""
    x = site.importer.real(site.held(position))
    if not site.has(zero):
        return x
    point = site.operand(zero)
    if isinstance(point, Known):
        if not np.any(point.array):
            return x
        point = Known(point.array.reshape(-1, 1)) if point.array.size > 1 else point
    return two(site, Sub, x, point)


def _centred_weights(site: Site, position: int, zero: int, axis: int) -> Known:
    weights = site.known(position, "weights").astype(np.int32)
    if site.has(zero):
        point = site.known(zero, "a zero point").astype(np.int32)
        along = [1] * weights.ndim
        along[axis] = -1
        if point.size not in (1, weights.shape[axis]):
            site.broken(f"{point.size} zero points", f"1 or {weights.shape[axis]}")
        weights = weights - point.reshape(along if point.size > 1 else [1] * weights.ndim)
    return Known(weights.astype(np.float32))


def _keep_whole(site: Site) -> None:
    """The result is of whole numbers: sums below 2^24 are exact already, and rounding says so."""
    found = site.importer.tensors[site.node.outputs[0]]
    assert isinstance(found, Held)
    site.bind(replace(apply(site, Function.ROUND, found), is_whole=True))


ROWS: dict[str, Callable[[Site], None]] = {"ConvInteger": conv_integer, "MatMulInteger": matmul_integer}
