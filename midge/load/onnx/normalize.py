"""Batch normalisation that stands alone."""

from __future__ import annotations

import numpy as np

from midge.load.onnx import elementwise
from midge.load.onnx.held import Known
from midge.load.onnx.site import Site
from midge.ops.add import Add
from midge.ops.mul import Mul


def batch_norm(site: Site) -> None:
    """BatchNormalization at inference: a factor and an offset for each channel."""
    if site.attribute("training_mode", 0) or any(site.node.outputs[1:]):
        site.unsupported("training mode")
    x = site.held(0)
    scale, offset, mean, variance = (
        site.known(position, "statistics").astype(np.float64).reshape(-1) for position in (1, 2, 3, 4)
    )
    channels = x.shape[1] if len(x.shape) > 1 else 1
    if not all(array.size == channels for array in (scale, offset, mean, variance)):
        site.broken(f"statistics of {scale.size} channels", f"{channels}")
    factor = scale / np.sqrt(variance + float(site.attribute("epsilon", 1e-5)))
    shape = (channels, *(1,) * (len(x.shape) - 2))
    elementwise.combine(site, Mul, x, Known(factor.astype(np.float32).reshape(shape)))
    scaled = site.importer.tensors[site.node.outputs[0]]
    elementwise.combine(site, Add, scaled, Known((offset - mean * factor).astype(np.float32).reshape(shape)))
