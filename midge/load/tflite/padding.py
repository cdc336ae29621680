"""Padding with zeros, or with another number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from midge.load.tflite.chain import Chain
from midge.load.tflite.site import Site
from midge.ops.base import Activation
from midge.ops.concatenation import Concatenation
from midge.ops.pad import Pad

_MOST_ELEMENTS = 1 << 24
Pairs = tuple[tuple[int, int], ...]


def pad(site: Site) -> None:
    """PAD and PADV2: the pad operator where the value is real zero, else constants in front and behind."""
    x = site.type(0)
    site.require_dtypes(site.required(0), site.result(), int16=True)
    pairs = site.known(1, "paddings")
    if pairs.shape != (len(x.shape), 2) or pairs.dtype.kind != "i":
        site.broken(f"paddings of shape {list(pairs.shape)}", f"[{len(x.shape)}, 2]")
    if pairs.min(initial=0) < 0 or pairs.max(initial=0) > 2**20:
        site.broken(f"paddings {pairs.tolist()}", "small numbers that are not negative")
    paddings = tuple((int(before), int(after)) for before, after in pairs)
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, paddings, strict=True))
    value = None if site.operand(2) is None else site.known(2, "a padding value")
    if value is not None and (value.size != 1 or value.dtype != x.dtype.numpy):
        site.broken(f"{value.size} padding values of type {value.dtype}", f"one of type {x.dtype.value}")
    if value is None or np.all(value == x.zero_point) or not any(map(any, paddings)):
        site.emit(Pad(paddings), [site.required(0)], shape)
        return
    if np.prod(shape, dtype=float) > _MOST_ELEMENTS:
        site.unsupported("so much padding")
    fill, known = value.reshape(-1)[0], site.constant(0)
    if known is not None:
        site.fold(np.pad(known, paddings, constant_values=fill))
        return
    _filled(site, paddings, fill)


def _filled(site: Site, paddings: Pairs, fill: np.generic) -> None:
    """Constants in front of the operand and behind it, axis after axis."""
    chain, type_ = site.chain(), site.type(0)
    name, axes = chain.operand, [axis for axis, pair in enumerate(paddings) if any(pair)]
    for axis in axes:
        before, after = paddings[axis]
        parts = [_constant(chain, site, axis, before, fill, type_.shape), name,
                 _constant(chain, site, axis, after, fill, type_.shape)]  # fmt: skip
        names = [part for part in parts if part is not None]
        shape = tuple(size + before + after if k == axis else size for k, size in enumerate(type_.shape))
        type_ = replace(type_, shape=shape)
        op = Concatenation(axis, Activation.NONE)
        if axis == axes[-1]:
            chain.finish(op, names, shape)
        else:
            name = chain.add(op, names, type_)


def _constant(chain: Chain, site: Site, axis: int, count: int, fill: np.generic, shape: tuple[int, ...]) -> str | None:
    """A constant of so many rows along an axis; None for none."""
    if count == 0:
        return None
    wide = tuple(count if k == axis else size for k, size in enumerate(shape))
    type_ = replace(site.type(0), shape=wide)
    return chain.constant(type_, np.full(wide, fill, type_.dtype.numpy))


ROWS: dict[str, Callable[[Site], None]] = {"PAD": pad, "PADV2": pad}
