"""Images in another size, batches of their parts."""

from __future__ import annotations

from collections.abc import Callable

from midge.load.tflite.site import Site
from midge.load.tflite.unsigned import on_bytes
from midge.ops.resize_bilinear import ResizeBilinear


def resize_bilinear(site: Site) -> None:
    """RESIZE_BILINEAR to a constant size."""
    x = site.type(0)
    sizes = site.known(1, "a size").reshape(-1).tolist()
    align, half = site.options("ResizeBilinearOptions", "AlignCorners", "HalfPixelCenters")
    if len(x.shape) != 4 or len(sizes) != 2 or min(sizes) < 1 or max(sizes) > 1 << 12:
        site.broken(f"the size {sizes} for shape {list(x.shape)}", "[height, width] of an image")
    if align and half:
        site.broken("aligned corners and half pixels", "one of them at most")
    site.require_batch_1(x)
    site.require_dtypes(site.required(0), site.result())
    if x.quantization != site.result_type().quantization:
        site.unsupported("a result with another scale")
    height, width = sizes
    op = ResizeBilinear(height, width, bool(align), bool(half))
    if site.raw(0).is_unsigned:
        on_bytes(site, op, (1, height, width, x.shape[3]))
        return
    site.emit(op, [site.required(0)], (1, height, width, x.shape[3]))


ROWS: dict[str, Callable[[Site], None]] = {
    "RESIZE_BILINEAR": resize_bilinear,
}
