"""Resize: nearest pixels move elements only, linear interpolation makes a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from midge.ir.types import DType
from midge.load.onnx.held import Held, channels_last
from midge.load.onnx.site import Site, Target
from midge.load.onnx.windows import image_of, require_image, two
from midge.ops.resize_bilinear import ResizeBilinear

_MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True, slots=True)
class _Axis:
    """From `size` elements to `results`, `scale` results to an element."""

    size: int
    results: int
    scale: float

    @property
    def is_whole(self) -> bool:
        """The scale is that of the sizes."""
        return bool(np.isclose(self.results / self.size, self.scale, rtol=1e-6, atol=0))


def resize(site: Site) -> None:
    """Resize by constant scales or to constant sizes, nearest or linear."""
    axes = _axes(site, site.held(0).shape)
    _resample(site, axes, site.attribute("coordinate_transformation_mode", "half_pixel"),
              site.attribute("nearest_mode", "round_prefer_floor"))  # fmt: skip


def upsample(site: Site) -> None:
    """Upsample (before opset 10), by scales among the attributes (opset 7) or the operands."""
    x = site.held(0)
    scales = site.attribute("scales", None)
    given = np.asarray(site.known(1, "scales").reshape(-1) if scales is None else scales, np.float64)
    axes = _scaled(site, x.shape, range(len(x.shape)), given)
    _resample(site, axes, "asymmetric", "floor")


def _resample(site: Site, axes: list[_Axis], coordinates: str, nearest_mode: str) -> None:
    x, mode = site.held(0), site.attribute("mode", "nearest")
    if site.attribute("antialias", 0) and any(axis.results < axis.size for axis in axes):
        site.unsupported("antialiasing")
    if np.prod([float(axis.results) for axis in axes]) > _MOST_ELEMENTS:
        site.unsupported(f"a result of shape {[axis.results for axis in axes]}")
    if mode == "nearest":
        order = x.order
        for number, axis in enumerate(axes):
            order = np.take(order, _nearest(site, axis, coordinates, nearest_mode), number)
        site.bind(x.rearranged(order))
    elif mode in ("linear", "bilinear"):
        _linear(site, x, axes, coordinates)
    else:
        site.unsupported(f"{mode} interpolation")


def _axes(site: Site, shape: tuple[int, ...]) -> list[_Axis]:
    """Each axis of the operand, from the operands `scales` or `sizes` and the attribute `axes`."""
    if site.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        site.unsupported("sizes that keep the aspect ratio")
    named = [site.axis(axis, len(shape)) for axis in site.integers("axes") or range(len(shape))]
    is_sized = site.has(3)
    if not is_sized and not site.has(2):
        site.broken("neither scales nor sizes", "one of them")
    given = site.known(3 if is_sized else 2, "a size").reshape(-1).astype(np.float64)
    return _scaled(site, shape, named, given, is_sized=is_sized)


def _scaled(site: Site, shape: tuple[int, ...], named: Sequence[int], given: np.ndarray, *, is_sized: bool = False
            ) -> list[_Axis]:  # fmt: skip
    """Each axis of the operand, those that are named by their scale or (`is_sized`) their size."""
    limit = 1 << 24
    if len(given) != len(named) or not np.all((given > 0) & (given < limit)):
        site.broken(f"{given.tolist()} for {len(named)} axes", "a positive number for each")
    found = [_Axis(size, size, 1.0) for size in shape]
    for axis, number in zip(named, given.tolist(), strict=True):
        size = shape[axis]
        if is_sized:
            found[axis] = _Axis(size, int(number), int(number) / size)
        else:
            found[axis] = _Axis(size, int(np.floor(size * number)), number)
        if found[axis].results < 1:
            site.broken(f"{size} elements scaled by {number}", "at least one element")
    return found


def _nearest(site: Site, axis: _Axis, coordinates: str, mode: str) -> np.ndarray:
    """Which element each result is."""
    if axis.size == axis.results and axis.is_whole:
        return np.arange(axis.size)
    place, scale = np.arange(axis.results, dtype=np.float32), np.float32(axis.scale)
    half = np.float32(0.5)
    if coordinates == "asymmetric":
        at = place / scale
    elif coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and axis.results > 1):
        at = (place + half) / scale - half
    elif coordinates == "pytorch_half_pixel":
        at = place * 0
    elif coordinates == "align_corners":
        at = place * np.float32(axis.size - 1) / np.float32(max(axis.results - 1, 1))
    else:
        site.unsupported(f"{coordinates} coordinates")
    rounds = {
        "round_prefer_floor": lambda p: np.ceil(p - half), "round_prefer_ceil": lambda p: np.floor(p + half),
        "floor": np.floor, "ceil": np.ceil,
    }  # fmt: skip
    if mode not in rounds:
        site.broken(f"nearest_mode {mode!r}", ", ".join(rounds))
    return np.clip(rounds[mode](at).astype(np.int64), 0, axis.size - 1)


def _linear(site: Site, x: Held, axes: list[_Axis], coordinates: str) -> None:
    """Interpolation of an image or a signal: int8 where the result keeps the scale, else float32."""
    require_image(site, x)
    if any(axis.results != axis.size for axis in axes[:2]):
        site.unsupported("interpolation between channels")
    spatial = axes[2:]
    known = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    is_odd = coordinates == "pytorch_half_pixel" and any(axis.results == 1 < axis.size for axis in spatial)
    if coordinates not in known or is_odd:
        site.unsupported(f"{coordinates} coordinates")
    if not all(axis.is_whole for axis in spatial):
        site.unsupported(f"scales {[axis.scale for axis in spatial]} that leave a part of a pixel")
    sizes, before = (two([axis.results for axis in spatial], 1), two([axis.size for axis in spatial], 1))
    if max(*sizes, *before) > 1 << 12:
        site.unsupported(f"{list(sizes)} pixels of {list(before)}")
    is_byte = x.type.dtype is DType.INT8
    if is_byte and not x.is_real and x.type.quantization is not None:  # of the QOperator form
        _interpolate(site, x, axes, coordinates, sizes, None)
        return
    target = site.target(fuses=False) if is_byte else None
    kept = target is not None and target.quantization.quantization == x.type.quantization
    if not kept:
        target, x = None, site.importer.real(x)
    _interpolate(site, x, axes, coordinates, sizes, target)


def _interpolate(site: Site, x: Held, axes: list[_Axis], coordinates: str, sizes: tuple[int, int],
                 target: Target | None) -> None:  # fmt: skip
    """The operator, whose result has its operand's type."""
    op = ResizeBilinear(*sizes, coordinates == "align_corners", coordinates.endswith("half_pixel"))
    shape = tuple(axis.results for axis in axes)
    type_ = replace(x.type, shape=(1, *sizes, shape[1]))
    made = site.make(op, [image_of(site, x)], type_)
    found = site.held_of(made, shape, channels_last(len(shape)))
    is_plain = target is None and not x.is_real
    site.finish(target, replace(found, is_unsigned=x.is_unsigned) if is_plain else found)


ROWS = {"Resize": resize, "Upsample": upsample}
