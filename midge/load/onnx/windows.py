"""Sliding windows of ONNX (strides, dilations, pads, auto_pad, ceil_mode) as windows of the graph."""

from __future__ import annotations

from collections.abc import Sequence

from midge.load.onnx.held import Held, channels_last
from midge.load.onnx.site import Site
from midge.ops.base import Padding
from midge.ops.windows import Window


def image_of(site: Site, x: Held) -> str:
    """The operand [1, C, H, W] or [1, C, L] as a value [1, H, W, C] or [1, L, 1, C]."""
    require_image(site, x)
    channels, *spatial = x.shape[1:]
    return site.place(x, channels_last(len(x.shape)), (1, *two(spatial, 1), channels))


def require_image(site: Site, x: Held) -> None:
    """Guard: one image or one signal."""
    if not 3 <= len(x.shape) <= 4:
        site.unsupported(f"{len(x.shape) - 2} spatial dimensions")
    if x.shape[0] != 1:
        site.unsupported(f"a batch of {x.shape[0]}")


def two(values: Sequence[int], other: int) -> tuple[int, int]:
    """Numbers of one or two dimensions as those of two: a signal's time runs along the rows."""
    return (values[0], other) if len(values) == 1 else (values[0], values[1])


def window_of(site: Site, spatial: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of the node's attributes over an input of this size."""
    rank = len(spatial)
    strides = _sizes(site, "strides", rank)
    dilations = _sizes(site, "dilations", rank)
    if len(kernel) != rank or min(kernel, default=0) < 1:
        site.broken(f"a kernel of shape {list(kernel)}", f"{rank} positive sizes")
    pads = _pads(site, spatial, kernel, strides, dilations)
    if site.attribute("ceil_mode", 0):
        pads = _to_ceiling(spatial, kernel, strides, dilations, pads)
    (top, bottom), (left, right) = pads[0], pads[1] if rank > 1 else (0, 0)
    return Window(*two(kernel, 1), *two(strides, 1), *two(dilations, 1), Padding(top, bottom, left, right))


def _sizes(site: Site, name: str, rank: int) -> tuple[int, ...]:
    values = site.integers(name) or (1,) * rank
    if len(values) != rank or min(values) < 1:
        site.broken(f"{name} {list(values)}", f"{rank} positive numbers")
    return values


def _pads(site: Site, spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
          ) -> list[tuple[int, int]]:  # fmt: skip
    """(before, after) of each spatial axis."""
    rank, scheme = len(spatial), site.attribute("auto_pad", "NOTSET")
    if scheme in ("NOTSET", "VALID", ""):
        pads = (site.integers("pads") if scheme != "VALID" else None) or (0,) * (2 * rank)
        if len(pads) != 2 * rank:
            site.broken(f"pads {list(pads)}", f"{2 * rank} numbers")
        if min(pads) < 0:
            site.unsupported("negative pads")
        return list(zip(pads[:rank], pads[rank:], strict=True))
    if scheme not in ("SAME_UPPER", "SAME_LOWER"):
        site.broken(f"auto_pad {scheme!r}", "NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    found = []
    for size, taps, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True):
        span = (taps - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if scheme == "SAME_UPPER" else (more, less))
    return found


def _to_ceiling(spatial: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
                pads: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:  # fmt: skip
    """Padding behind that makes a last window which begins inside the input or the padding before it."""
    found = []
    for size, taps, stride, dilation, (before, after) in zip(spatial, kernel, strides, dilations, pads, strict=True):
        span = (taps - 1) * dilation + 1
        count = -(-(size + before + after - span) // stride) + 1
        if (count - 1) * stride >= size + before:
            count -= 1
        found.append((before, max(after, (count - 1) * stride + span - size - before)))
    return found
