"""Norms of degree 1 and 2: of vectors, of windows, of whole images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.load.onnx import weighted
from midge.load.onnx.functions import apply, number, pair, two
from midge.load.onnx.held import Held, Known
from midge.load.onnx.reductions import reduced
from midge.load.onnx.site import Site
from midge.load.onnx.windows import require_image
from midge.ops.binary import Function as Pair
from midge.ops.map import Function
from midge.ops.reduce import Function as Total

_SMALLEST = float(np.finfo(np.float32).tiny)


def _degree(site: Site) -> int:
    degree = int(site.attribute("p", 2))
    if degree not in (1, 2):
        site.unsupported(f"a norm of degree {degree}")
    return degree


def _summands(site: Site, x: Held, degree: int) -> Held:
    return apply(site, Function.ABS if degree == 1 else Function.SQUARE, x)


def _root(site: Site, x: Held, degree: int) -> Held:
    return x if degree == 1 else apply(site, Function.SQRT, x)


def _norm(site: Site, x: Held, degree: int, axes: tuple[int, ...]) -> Held:
    return _root(site, reduced(site, Total.SUM, _summands(site, x, degree), axes), degree)


def lp_normalization(site: Site) -> None:
    """LpNormalization: x over its norm along an axis; zeros stay zeros."""
    x, degree = site.held(0), _degree(site)
    axis = site.axis(int(site.attribute("axis", -1)), len(x.shape))
    norm = two(site, pair(Pair.MAXIMUM), _norm(site, x, degree, (axis,)), number(_SMALLEST))
    site.bind(two(site, pair(Pair.DIV), x, norm))


def global_lp_pool(site: Site) -> None:
    """GlobalLpPool: the norm of each channel."""
    x = site.held(0)
    site.bind(_norm(site, x, _degree(site), tuple(range(2, len(x.shape)))))


def lp_pool(site: Site) -> None:
    """LpPool: the norm of each window, as a convolution of each channel by itself with ones."""
    x, degree = site.held(0), _degree(site)
    require_image(site, x)
    if site.attribute("ceil_mode", 0):
        site.unsupported("ceil_mode")
    kernel, channels = site.integers("kernel_shape") or (), x.shape[1]
    ones = Known(np.ones((channels, 1, *kernel), np.float32))
    by_channel = Site(site.importer, replace(site.node, attributes={**site.node.attributes, "group": channels}))
    weighted.convolve(by_channel, _summands(site, x, degree), ones, None, None)
    total = site.importer.tensors[site.node.outputs[0]]
    assert isinstance(total, Held)
    site.bind(_root(site, total, degree))


ROWS: dict[str, Callable[[Site], None]] = {
    "GlobalLpPool": global_lp_pool,
    "LpNormalization": lp_normalization,
    "LpPool": lp_pool,
}
