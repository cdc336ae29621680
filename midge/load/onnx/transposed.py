"""ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from midge.load.onnx.held import Known, channels_last
from midge.load.onnx.site import Site
from midge.load.onnx.weighted import bias_of, emit_weighted, reads_integers
from midge.load.onnx.windows import image_of, require_image, two
from midge.ops.base import Activation, Op
from midge.ops.transposed_conv2d import TransposedConv2D


def conv_transpose(site: Site) -> None:
    """ConvTranspose in one or two dimensions, weights [C, O / groups, …], without dilation."""
    x, weights = site.held(0), site.constant(1, "weights")
    require_image(site, x)
    if len(weights.shape) != len(x.shape) or min(weights.shape) < 1:
        site.broken(f"weights of shape {list(weights.shape)}", f"{len(x.shape)} dimensions")
    groups, channels = int(site.attribute("group", 1)), x.shape[1]
    if groups < 1 or channels != weights.shape[0] or channels % groups:
        site.broken(f"{channels} channels in {groups} groups, weights of shape {list(weights.shape)}",
                    "groups that divide both")  # fmt: skip
    if any(size != 1 for size in site.integers("dilations") or ()):
        site.unsupported("dilated taps")
    spatial, kernel, outputs = x.shape[2:], weights.shape[2:], weights.shape[1] * groups
    rank = len(spatial)
    strides = site.integers("strides") or (1,) * rank
    if len(strides) != rank or min(strides) < 1:
        site.broken(f"strides {list(strides)}", f"{rank} positive numbers")
    cuts, sizes = _cuts(site, spatial, kernel, strides)
    if min(sizes) < 1 or max(sizes) >= 1 << 16 or min(cuts) < 0:
        site.unsupported(f"a result of {list(sizes)} pixels, {list(cuts)} of them cut in front")
    fields = (*two(strides, 1), *two(cuts, 0), *two(sizes, 1))

    def make(activation: Activation) -> Op:
        return TransposedConv2D(*fields, activation)

    def arranged(array: np.ndarray) -> np.ndarray:
        return array.reshape(*array.shape[:2], *two(array.shape[2:], 1)).transpose(0, 2, 3, 1)

    target = site.target() if reads_integers(site, 0) else None
    shape = (1, outputs, *sizes)
    emit_weighted(site, x, _outputs_first(weights, groups), bias_of(site, 2), target, arranged, 0, make,
                  lambda held: image_of(site, held), (1, *two(sizes, 1), outputs), shape,
                  channels_last(len(x.shape)))  # fmt: skip


def _cuts(site: Site, spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
          ) -> tuple[tuple[int, ...], tuple[int, ...]]:  # fmt: skip
    """Pixels cut in front, and the size of the result, along each axis."""
    rank = len(spatial)
    more = site.integers("output_padding") or (0,) * rank
    pads = site.integers("pads") or (0,) * (2 * rank)
    wanted = site.integers("output_shape") or ()
    if len(more) != rank or len(pads) != 2 * rank or len(wanted) not in (0, rank):
        site.broken(f"pads {list(pads)}, output_padding {list(more)}, output_shape {list(wanted)}",
                    f"numbers for {rank} axes")  # fmt: skip
    full = [(size - 1) * stride + extra + taps
            for size, stride, extra, taps in zip(spatial, strides, more, kernel, strict=True)]  # fmt: skip
    scheme = site.attribute("auto_pad", "NOTSET")
    if scheme not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", ""):
        site.broken(f"auto_pad {scheme!r}", "NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    if not wanted and not scheme.startswith("SAME"):
        pads = (0,) * (2 * rank) if scheme == "VALID" else pads
        return pads[:rank], tuple(size - pads[i] - pads[i + rank] for i, size in enumerate(full))
    sizes = wanted or tuple(size * stride for size, stride in zip(spatial, strides, strict=True))
    totals = [max(size - want, 0) for size, want in zip(full, sizes, strict=True)]
    return tuple(total // 2 if scheme == "SAME_UPPER" else total - total // 2 for total in totals), tuple(sizes)


def _outputs_first(weights: Known, groups: int) -> Known:
    """Weights [C, O / groups, …] as [O, C / groups, …]; scales along the outputs stay with them."""

    def moved(array: np.ndarray) -> np.ndarray:
        inputs, outputs, *taps = array.shape
        split = array.reshape(groups, inputs // groups, outputs, *taps).swapaxes(1, 2)
        return split.reshape(groups * outputs, inputs // groups, *taps)

    scales, zeros = weights.scales, weights.zero_points
    if scales is not None and scales.size > 1:
        scales = np.tile(scales.reshape(-1), groups)
        zeros = None if zeros is None else np.tile(zeros.reshape(-1), groups)
    quantized = None if weights.quantized is None else moved(weights.quantized)
    # Scales along another axis than the outputs are told by an axis that is not 0.
    return Known(moved(weights.array), quantized, scales, zeros, 0 if weights.axis == 1 else 1)


ROWS = {"ConvTranspose": conv_transpose}
